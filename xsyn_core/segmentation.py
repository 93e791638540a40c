"""SAM: pay the encoder once, prompt many; "segment everything".

Coordinates are pixels of the image, boxes have x2 and y2 exclusive. Nothing here keeps state, so
that one `Segmenter` serves many threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from segment_anything.modeling import Sam
from torchvision.ops import nms

from xsyn_core.boxes import Box
from xsyn_core.errors import XsynError
from xsyn_core.sam_checkpoint import load_sam, save_sam
from xsyn_core.sam_decoder import Decoder

__all__ = ["Embedding", "Segment", "Segmenter", "load_sam", "save_sam"]

# SAM's stability compares the mask at thresholds this far above and below 0.
STABILITY_OFFSET = 1.0


@dataclass(frozen=True)
class Segment:
    """One mask of an image.

    Attributes:
        mask: bool (H, W) of the whole image.
        box: tight around the mask; (0, 0, 0, 0) if it is empty.
        area: pixels of the mask.
        predicted_iou: the model's own guess of the mask's quality, about 0 to 1.
        stability: IoU of the masks at logits above 1 and above -1, 0 to 1.
    """

    mask: np.ndarray = field(compare=False)
    box: Box
    area: int
    predicted_iou: float
    stability: float


@dataclass(frozen=True, eq=False)
class Embedding:
    """An encoded image.

    Attributes:
        features: (1, C, g, g).
        image_size: (height, width) of the image in pixels.
        input_size: (height, width) of the resized image inside the model's padded square.
    """

    features: torch.Tensor
    image_size: tuple[int, int]
    input_size: tuple[int, int]


class Segmenter:
    """A `Sam` of any size behind values instead of state.

    Args:
        sam: the model; moved to `device`.
        device: a torch device.
        name: for people: which model this is.
    """

    def __init__(self, sam: Sam, device: str | torch.device = "cpu", name: str = "SAM"):
        self.sam = sam.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        self.name = name
        self.dtype = _fast_dtype(self.device)
        self.decoder = Decoder(self.sam, self.dtype)
        self.side = sam.image_encoder.img_size
        self.batch = 16 if self.device.type == "cpu" else 128

    @torch.inference_mode()
    def embed(self, image: np.ndarray) -> Embedding:
        """Encode an image, uint8 RGB (H, W, 3) of any size: long side to the model's, then padded.

        Raises:
            XsynError: not such an image.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise XsynError(f"SAM needs 8-bit RGB pixels, not {image.dtype} {image.shape}.")
        size = image.shape[0], image.shape[1]
        scale = self.side / max(size)
        height, width = (max(1, int(length * scale + 0.5)) for length in size)
        resized = np.array(
            Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        )
        pixels = torch.from_numpy(resized).to(self.device).permute(2, 0, 1)[None].float()
        half = self.dtype != torch.float32
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=half):
            features = self.sam.image_encoder(self.sam.preprocess(pixels))
        return Embedding(features.float(), size, (height, width))

    @torch.inference_mode()
    def segment(
        self,
        embedding: Embedding,
        box: Sequence[float] | None = None,
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> Segment:
        """The one mask for a prompt (SAM's single-mask output).

        Args:
            embedding: from `embed`.
            box: (x1, y1, x2, y2).
            points: (k, 2) pixels as x, y; None or k = 0 for none.
            labels: (k,), 1 foreground, 0 background.

        Raises:
            XsynError: neither box nor points, or as many labels as points are missing.
        """
        points = None if points is None or len(points) == 0 else np.asarray(points, np.float32)
        if box is None and points is None:
            raise XsynError("SAM needs a box or at least one point.")
        if points is not None and (labels is None or len(labels) != len(points)):
            raise XsynError("SAM needs a label, 1 or 0, for every point.")
        corners = None if box is None else np.asarray(box, np.float32).reshape(1, 2, 2)
        prompts = self._prompts(
            embedding,
            None if points is None else points[None],
            None if points is None else np.asarray(labels)[None],
            corners,
        )
        image, tokens, quality = self.decoder.attend(embedding.features, prompts)
        logits = self.decoder.masks(image, tokens, range(1))[0, 0].float().cpu().numpy()
        return _at_full_size(logits, float(quality[0, 0]), self._resampling(embedding), embedding)

    @torch.inference_mode()
    def everything(
        self,
        image: np.ndarray,
        points_per_side: int = 16,
        pred_iou_thresh: float = 0.8,
        stability_thresh: float = 0.85,
        nms_thresh: float = 0.7,
    ) -> list[Segment]:
        """Segment all elements of an image with a grid of points, largest area first.

        The regions are those of `SamAutomaticMaskGenerator` (one crop layer) at the same grid and
        thresholds. Masks are judged at the decoder's own resolution, and only the survivors are
        brought to the image's.

        Args:
            image: uint8 RGB (H, W, 3).
            points_per_side: the grid is points_per_side squared.
            pred_iou_thresh: least predicted IoU (the original's default for ViT-H is 0.88).
            stability_thresh: least stability (the original's default for ViT-H is 0.95).
            nms_thresh: of two masks whose boxes have a higher IoU the better one stays.

        Raises:
            XsynError: not an image, or no points.
        """
        if points_per_side < 1:
            raise XsynError("The grid of points needs at least one point a side.")
        embedding = self.embed(image)
        height, width = embedding.image_size
        centres = (np.arange(points_per_side, dtype=np.float64) + 0.5) / points_per_side
        grid = np.stack(np.meshgrid(centres * width, centres * height), -1).reshape(-1, 1, 2)
        labels = np.ones((len(grid), 1), np.float32)
        found = []
        for start in range(0, len(grid), self.batch):
            chosen = slice(start, start + self.batch)
            prompts = self._prompts(embedding, grid[chosen], labels[chosen], None)
            found.append(self._confident(embedding, prompts, pred_iou_thresh, stability_thresh))
        logits, quality, boxes = (torch.cat(parts) for parts in zip(*found, strict=True))
        kept = nms(boxes, quality, nms_thresh)
        resampling = self._resampling(embedding)
        segments = [
            _at_full_size(mask, score, resampling, embedding)
            for mask, score in zip(
                logits[kept].float().cpu().numpy(), quality[kept].tolist(), strict=True
            )
        ]
        return sorted((s for s in segments if s.area), key=lambda s: -s.area)

    def _prompts(self, embedding: Embedding, points, labels, corners) -> torch.Tensor:
        """Embed points (B, k, 2) with labels (B, k), box corners (B, 2, 2): (B, P, C)."""
        height, width = embedding.image_size
        scale = np.array([embedding.input_size[1] / width, embedding.input_size[0] / height])

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=self.device)

        return self.sam.prompt_encoder(
            None if points is None else (tensor(points * scale), tensor(labels)),
            None if corners is None else tensor(corners * scale).flatten(1),
            None,
        )[0]

    def _confident(
        self, embedding: Embedding, prompts: torch.Tensor, pred_iou: float, stability: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The masks of a batch of prompts that pass both thresholds: logits (n, S, S), predicted
        IoU (n,), boxes (n, 4) in cells of the logits."""
        image, tokens, quality = self.decoder.attend(embedding.features, prompts)
        count = tokens.shape[1]
        quality = quality[:, 1:]
        good = quality > pred_iou
        some = good.any(1)
        logits = self.decoder.masks(image[some], tokens[some], range(1, count))[good[some]]
        height, width = (n * logits.shape[-1] / self.side for n in embedding.input_size)
        inside = logits[:, : int(np.ceil(height)), : int(np.ceil(width))]
        high = (inside > STABILITY_OFFSET).sum((1, 2))
        low = (inside > -STABILITY_OFFSET).sum((1, 2))
        stable = (high >= stability * low) & (inside > 0).flatten(1).any(1)
        x1, x2 = _extent(inside[stable].amax(1).float(), width)
        y1, y2 = _extent(inside[stable].amax(2).float(), height)
        return logits[stable], quality[good][stable], torch.stack([x1, y1, x2, y2], 1)

    def _resampling(self, embedding: Embedding) -> tuple[np.ndarray, np.ndarray]:
        """The matrices that resample logits along rows and columns to the image."""
        low = 4 * self.sam.prompt_encoder.image_embedding_size[0]
        (height, width), (rows, columns) = embedding.image_size, embedding.input_size
        return _matrix(low, self.side, rows, height), _matrix(low, self.side, columns, width)


def _fast_dtype(device: torch.device) -> torch.dtype:
    """Half precision where the machine computes in it."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
    if device.type == "cpu" and (
        torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    ):
        return torch.bfloat16
    return torch.float32


def _extent(profile: torch.Tensor, end: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Where profiles (n, L), positive somewhere, first and last cross 0 between cell centres."""

    def first(values: torch.Tensor) -> torch.Tensor:
        index = (values > 0).to(torch.uint8).argmax(1, keepdim=True)
        inner = values.gather(1, index)
        outer = values.gather(1, (index - 1).clamp(min=0))
        crossing = index - 0.5 + outer / (outer - inner).clamp(max=-1e-9)
        return torch.where(index > 0, crossing, torch.zeros_like(crossing))[:, 0]

    return first(profile), (profile.shape[1] - first(profile.flip(1))).clamp(max=end)


@lru_cache(maxsize=16)
def _matrix(low: int, side: int, used: int, out: int) -> np.ndarray:
    """(out, low): SAM's bilinear steps from `low` cells to `side`, cut to `used`, to `out`."""
    identity = torch.eye(low)[None]
    padded = F.interpolate(identity, size=side, mode="linear", align_corners=False)
    resampled = F.interpolate(padded[..., :used], size=out, mode="linear", align_corners=False)
    matrix = np.ascontiguousarray(resampled[0].numpy().T)
    matrix.flags.writeable = False
    return matrix


def _at_full_size(
    logits: np.ndarray,
    predicted_iou: float,
    resampling: tuple[np.ndarray, np.ndarray],
    embedding: Embedding,
) -> Segment:
    """Bring logits (S, S) to the image, computing only around what is positive."""
    rows, columns = resampling
    mask = np.zeros(embedding.image_size, bool)
    reach = logits > -STABILITY_OFFSET
    y = _touched(rows, reach.any(1))
    x = _touched(columns, reach.any(0))
    if y is None or x is None:
        return Segment(mask, (0.0, 0.0, 0.0, 0.0), 0, predicted_iou, 0.0)
    low_y, low_x = (m[s].any(0).nonzero()[0] for m, s in ((rows, y), (columns, x)))
    low_y, low_x = slice(low_y[0], low_y[-1] + 1), slice(low_x[0], low_x[-1] + 1)
    values = rows[y, low_y] @ logits[low_y, low_x] @ columns[x, low_x].T
    positive = values > 0
    area = int(np.count_nonzero(positive))
    outer = np.count_nonzero(values > -STABILITY_OFFSET)
    stability = np.count_nonzero(values > STABILITY_OFFSET) / outer if outer else 0.0
    if not area:
        return Segment(mask, (0.0, 0.0, 0.0, 0.0), 0, predicted_iou, stability)
    mask[y, x] = positive
    ys, xs = positive.any(1).nonzero()[0] + y.start, positive.any(0).nonzero()[0] + x.start
    box = float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)
    return Segment(mask, box, area, predicted_iou, stability)


def _touched(matrix: np.ndarray, cells: np.ndarray) -> slice | None:
    """The range of output positions that depend on any of the chosen cells."""
    if not cells.any():
        return None
    positions = matrix[:, cells].any(1).nonzero()[0]
    return slice(positions[0], positions[-1] + 1) if len(positions) else None
