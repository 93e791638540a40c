"""SAM: pay the encoder once, prompt many; "segment everything".

Coordinates are pixels of the image, boxes have x2 and y2 exclusive. Nothing here keeps state but
where the image encoder lies, which is under a lock, so that one `Segmenter` serves many threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from segment_anything.modeling import Sam
from torchvision.ops import box_iou, nms

from xsyn_core import sam_refiner
from xsyn_core.boxes import Box
from xsyn_core.errors import XsynError
from xsyn_core.memory import Residence
from xsyn_core.prompt_windows import extent, moved, window
from xsyn_core.sam_checkpoint import THRESHOLDS, load_sam, save_sam
from xsyn_core.sam_decoder import Decoder
from xsyn_core.sam_masks import (
    STABILITY_OFFSET,
    Segment,
    at_full_size,
    matrix,
    positive_part,
)

__all__ = ["Embedding", "Segment", "Segmenter", "load_sam", "save_sam"]

# Large masks are judged on images of this side, small ones on the image itself.
COARSE_SIDE = 256
# ... but for those whose stability, or whose box IoU with another, is there this close to its
# threshold.
CLOSE = 0.03
# Narrower image encoders take too short a time for half precision to be worth its error.
LARGE_WIDTH = 768


@dataclass(frozen=True, eq=False)
class Embedding:
    """An encoded image.

    Attributes:
        image: uint8 (H, W, 3), what was encoded.
        features: (1, C, g, g), all that the image encoder gives.
        image_size: (height, width) of the image in pixels.
        input_size: (height, width) of the resized image inside the model's padded square.
    """

    image: np.ndarray
    features: torch.Tensor
    image_size: tuple[int, int]
    input_size: tuple[int, int]


class Segmenter:
    """A `Sam` of any size behind values instead of state.

    Args:
        sam: the model; moved to `device`, but for an image encoder that does not stay there.
        device: a torch device.
        name: for people: which model this is.
        residence: brings the image encoder to the device where it does not stay there.
    """

    def __init__(
        self,
        sam: Sam,
        device: str | torch.device = "cpu",
        name: str = "SAM",
        residence: Residence | None = None,
    ):
        self.residence = residence or Residence()
        if self.residence.device is None:
            sam.to(device)
        else:
            # The others are small, and `Decoder` keeps tensors made from them.
            for part_name, part in sam.named_children():
                if part_name != "image_encoder":
                    part.to(device)
            sam.pixel_mean, sam.pixel_std = sam.pixel_mean.to(device), sam.pixel_std.to(device)
        self.sam = sam.eval().requires_grad_(False)
        self.device = torch.device(device)
        self.name = name
        self.dtype = _encoder_dtype(self.sam, self.device)
        self.decoder = Decoder(self.sam)
        self.side = sam.image_encoder.img_size
        self.thresholds: tuple[float, float] = getattr(sam, "thresholds", THRESHOLDS)
        self.batch = prompts_at_once(self.device)
        self.zoom: float | None = getattr(sam, "zoom", None)
        self.refiner: sam_refiner.Refiner | None = getattr(sam, "refiner", None)

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
        with (
            self.residence.at_work(self.sam.image_encoder),
            torch.autocast(self.device.type, dtype=self.dtype, enabled=half),
        ):
            features = self.sam.image_encoder(self.sam.preprocess(pixels))
        return Embedding(image, features.float(), size, (height, width))

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
            box: (x1, y1, x2, y2); alone as tight as it can be drawn, with points it may be loose.
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
        labels = None if points is None else np.asarray(labels, np.float32)
        corners = None if box is None else np.asarray(box, np.float32)
        if self.zoom is None:
            return self._segment(embedding, corners, points, labels)
        if corners is None:
            found = self._segment(embedding, None, points, labels)
            if not found.area:
                return found
            # what points mean is looked at again, closely
            corners = np.array(found.box, np.float32)
        view = self.view(extent(corners, points, labels), embedding.image_size)
        if view is None:
            return self._segment(embedding, corners, points, labels)
        return self._close_up(embedding, view, corners, points, labels)

    def view(
        self, around: Sequence[float] | np.ndarray, image_size: tuple[int, int]
    ) -> tuple[int, int, int, int] | None:
        """Where a model that zooms looks for what lies in a box.

        Args:
            around: (x1, y1, x2, y2).
            image_size: (height, width).

        Returns:
            The window (x1, y1, x2, y2) inside the image; None for the whole image.
        """
        return None if self.zoom is None else window(around, image_size, self.zoom)

    def _segment(self, embedding: Embedding, corners, points, labels) -> Segment:
        """The mask for a box (4,), points (k, 2) with labels (k,), or both, refined where the model
        can."""
        prompts = self._prompts(
            embedding,
            None if points is None else points[None],
            None if points is None else labels[None],
            None if corners is None else corners.reshape(1, 2, 2),
        )
        image, tokens, quality = self.decoder.attend(embedding.features, prompts)
        which = range(1 if self.refiner is None else self.refiner.masks)
        logits = self.decoder.masks(embedding.features, image, tokens, which)
        if self.refiner is not None:
            second_look = self._second_look(embedding, corners, points, labels)
            pixels, drawing = (torch.from_numpy(x).to(self.device)[None] for x in second_look)
            logits = self.refiner(sam_refiner.seen(pixels), logits, drawing)
        full = self._resampling(embedding, max(embedding.image_size))
        return at_full_size(logits[0, 0].float().cpu().numpy(), float(quality[0, 0]), full)

    def _second_look(
        self, embedding: Embedding, corners, points, labels
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the refiner sees beside the logits of the same prompt: pixels and drawn prompt, see
        `sam_refiner`."""
        cells = 4 * self.sam.prompt_encoder.image_embedding_size[0]
        scale = cells / max(embedding.image_size)
        drawing = sam_refiner.drawn(
            None if corners is None else corners * scale,
            None if points is None else points * scale,
            labels,
            cells,
        )
        return sam_refiner.shrunk(embedding.image, cells), drawing

    def _close_up(self, embedding: Embedding, view, corners, points, labels) -> Segment:
        """As `_segment`, from a window of the image."""
        x1, y1, x2, y2 = view
        corners, points, labels = moved(view, corners, points, labels)
        near = self._segment(self.embed(embedding.image[y1:y2, x1:x2]), corners, points, labels)
        mask = np.zeros(embedding.image_size, bool)
        mask[y1:y2, x1:x2] = near.mask
        left, top, right, bottom = near.box
        box = (left + x1, top + y1, right + x1, bottom + y1) if near.area else near.box
        return Segment(mask, box, near.area, near.predicted_iou, near.stability)

    @torch.inference_mode()
    def everything(
        self,
        image: np.ndarray,
        points_per_side: int = 16,
        pred_iou_thresh: float | None = None,
        stability_thresh: float | None = None,
        nms_thresh: float = 0.7,
    ) -> list[Segment]:
        """Segment all elements of an image with a grid of points, largest area first.

        The regions are those of `SamAutomaticMaskGenerator` (one crop layer) at the same grid and
        thresholds. Only confident masks are computed at all, each around itself, large ones at a
        low resolution; the survivors alone are brought to the image's.

        Args:
            image: uint8 RGB (H, W, 3).
            points_per_side: the grid is points_per_side squared.
            pred_iou_thresh: least predicted IoU; the model's own threshold where not given.
            stability_thresh: least stability; likewise.
            nms_thresh: of two masks whose boxes have a higher IoU the better one stays.

        Raises:
            XsynError: not an image, or no points.
        """
        if points_per_side < 1:
            raise XsynError("The grid of points needs at least one point a side.")
        own_iou, own_stability = self.thresholds
        pred_iou_thresh = own_iou if pred_iou_thresh is None else pred_iou_thresh
        stability_thresh = own_stability if stability_thresh is None else stability_thresh
        embedding = self.embed(image)
        height, width = embedding.image_size
        centres = (np.arange(points_per_side, dtype=np.float64) + 0.5) / points_per_side
        grid = np.stack(np.meshgrid(centres * width, centres * height), -1).reshape(-1, 1, 2)
        labels = np.ones((len(grid), 1), np.float32)
        found: list[_Candidate] = []
        for start in range(0, len(grid), self.batch):
            chosen = slice(start, start + self.batch)
            prompts = self._prompts(embedding, grid[chosen], labels[chosen], None)
            found += self._confident(embedding, prompts, pred_iou_thresh, stability_thresh)
        if not found:
            return []
        full = self._resampling(embedding, max(height, width))
        boxes = torch.tensor([c.box for c in found])
        alike = (box_iou(boxes, boxes) - nms_thresh).abs().fill_diagonal_(1).amin(1) < CLOSE
        for k in alike.nonzero().flatten().tolist():
            part = positive_part(found[k].logits, full)
            if part is not None:
                boxes[k] = torch.tensor(part.box)
        # SAM's generator compares boxes whose ends are the last pixels inside
        boxes[:, 2:] -= 1
        kept = nms(boxes, torch.tensor([c.predicted_iou for c in found]), nms_thresh)
        segments = [
            at_full_size(found[k].logits, found[k].predicted_iou, full) for k in kept.tolist()
        ]
        return sorted((s for s in segments if s.area), key=lambda s: -s.area)

    def _prompts(self, embedding: Embedding, points, labels, corners) -> torch.Tensor:
        """Embed points (B, k, 2) with labels (B, k), box corners (B, 2, 2): (B, P, C)."""
        height, width = embedding.image_size
        scale = np.array([embedding.input_size[1] / width, embedding.input_size[0] / height])

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.asarray(values, np.float32)).to(self.device)

        return self.sam.prompt_encoder(
            None if points is None else (tensor(points * scale), tensor(labels)),
            None if corners is None else tensor(corners * scale).flatten(1),
            None,
        )[0]

    def _confident(
        self, embedding: Embedding, prompts: torch.Tensor, pred_iou: float, stability: float
    ) -> list["_Candidate"]:
        """The masks of a batch of prompts that pass both thresholds."""
        image, tokens, quality = self.decoder.attend(embedding.features, prompts)
        good = quality[:, 1:] > pred_iou
        some = good.any(1)
        if not some.any():
            return []
        which = range(1, tokens.shape[1])
        logits = self.decoder.masks(embedding.features, image[some], tokens[some], which)
        logits = logits[good[some]].float().cpu().numpy()  # type: ignore[assignment]
        height, width = embedding.image_size
        fine = self._resampling(embedding, max(height, width))
        coarse = self._resampling(embedding, COARSE_SIDE)
        found = []
        for mask, score in zip(logits, quality[:, 1:][good].tolist(), strict=True):
            share = np.count_nonzero(mask > -STABILITY_OFFSET) / mask.size
            resampling = fine if share * height * width <= COARSE_SIDE**2 / 2 else coarse
            part = positive_part(mask, resampling)
            if part is not None and abs(part.stability - stability) < CLOSE:
                resampling = fine
                part = positive_part(mask, resampling)
            if part is not None and part.stability >= stability:
                rows, columns = resampling
                scale = width / len(columns), height / len(rows)
                box = tuple(np.multiply(part.box, scale * 2).tolist())
                found.append(_Candidate(mask, score, box))
        return found

    def _resampling(self, embedding: Embedding, longest: int) -> tuple[np.ndarray, np.ndarray]:
        """The matrices that resample logits along rows and columns to the image, scaled down to
        `longest` pixels a side."""
        low = 4 * self.sam.prompt_encoder.image_embedding_size[0]
        scale = min(1.0, longest / max(embedding.image_size))
        height, width = (max(1, round(scale * n)) for n in embedding.image_size)
        rows, columns = embedding.input_size
        return matrix(low, self.side, rows, height), matrix(low, self.side, columns, width)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """Logits (S, S) that passed the thresholds, and the box in pixels of the image."""

    logits: np.ndarray
    predicted_iou: float
    box: Box


def prompts_at_once(device: torch.device) -> int:
    """How many prompts are decoded at once; on a CPU more would be slower."""
    return 16 if device.type == "cpu" else 64


def _encoder_dtype(sam: Sam, device: torch.device) -> torch.dtype:
    """Half precision for large image encoders where the machine computes in it."""
    if sam.image_encoder.neck[0].in_channels < LARGE_WIDTH:
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
    if device.type == "cpu" and (
        torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    ):
        return torch.bfloat16
    return torch.float32
