"""Train the embedded segmenter: SAM's promptable segmentation on simulated scans.

Besides boxes and clicks, its prompts are boxes with points as median point sampling gives them,
and its images include heat maps of attention, since refinement (Section IV-B) shows it both.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam

from xsyn_core.segmentation import save_sam
from xsyn_core.training import architectures
from xsyn_core.training.data import MASK_SIDE, SIDE, Shard, shards
from xsyn_core.training.loop import Plan, autocast, pick_device, train

POINTS = 16
# label of a padding point in SAM's prompt encoder
NOT_A_POINT = -1


def heat_map(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A made-up attention map of an object: blurred, uneven, with stray activity outside.

    Args:
        mask: bool (S, S).

    Returns:
        uint8 (SIDE, SIDE, 3), grey, brightest at 255.
    """
    side = mask.shape[0]
    cell = rng.choice([4, 8])
    coarse = cv2.resize(mask.astype(np.float32), (side // cell,) * 2, interpolation=cv2.INTER_AREA)
    coarse *= rng.uniform(0.3, 1.0, coarse.shape)
    coarse += rng.exponential(rng.uniform(0.02, 0.12), coarse.shape)
    fine = cv2.resize(coarse.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    fine = np.clip(fine - fine.min(), 0, None)
    return np.repeat((fine / max(fine.max(), 1e-6) * 255).astype(np.uint8)[..., None], 3, 2)


def prompt(mask: np.ndarray, box: np.ndarray, rng: np.random.Generator):
    """A random prompt for an object.

    Args:
        mask: bool (S, S), not empty.
        box: float (4,), pixels of a SIDE x SIDE image.

    Returns:
        box float32 (4,) or NaNs for none, points float32 (POINTS, 2), labels int (POINTS,), and
        whether it is ambiguous (a single point).
    """
    kind = rng.choice(["box", "point", "points", "box and points"], p=[0.35, 0.25, 0.1, 0.3])
    points = np.zeros((POINTS, 2), np.float32)
    labels = np.full(POINTS, NOT_A_POINT, np.int64)
    prompt_box = np.full(4, np.nan, np.float32)
    scale = SIDE / mask.shape[0]
    if "box" in kind:
        w, h = box[2] - box[0], box[3] - box[1]
        # tight for a known label, loose as a grounding box is
        spread = rng.choice([0.04, 0.2])
        shift = rng.normal(0, spread, 4).clip(-2 * spread, 2 * spread)
        grow = 0.0 if spread < 0.1 else 0.15
        prompt_box = box + (shift + (-grow, -grow, grow, grow)) * (w, h, w, h)
        prompt_box = np.clip(prompt_box, 0, SIDE).astype(np.float32)
    if "point" in kind:
        ys, xs = np.nonzero(mask)
        count = 1 if kind == "point" else int(rng.choice([1, 3, 7, 15]))
        if kind == "point":
            # a click lands well inside more often than on the rim
            depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)[ys, xs]
            chosen = rng.choice(len(xs), 1, p=depth / depth.sum())
        else:
            chosen = rng.choice(len(xs), count)
        jitter = rng.uniform(0, 1, (count, 2))
        points[:count] = (np.stack([xs[chosen], ys[chosen]], 1) + jitter) * scale
        labels[:count] = 1
        if kind != "point":
            outside = np.argwhere(~mask)
            if len(outside):
                if "box" in kind:
                    y, x = (outside + 0.5).T * scale
                    x1, y1, x2, y2 = prompt_box
                    within = (x > x1) & (x < x2) & (y > y1) & (y < y2)
                    outside = outside[within] if within.any() else outside
                y, x = outside[rng.integers(len(outside))]
                last = min(count, POINTS - 1)
                points[last] = (np.array([x, y]) + 0.5) * scale
                labels[last] = 0
    return prompt_box, points, labels, kind == "point"


def low_resolution_masks(
    sam: Sam, embeddings: torch.Tensor, boxes: torch.Tensor, points, labels
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode P prompts for each of B images in one batch.

    Args:
        embeddings: (B, C, g, g).
        boxes: (B, P, 4), NaN for none. points: (B, P, K, 2). labels: (B, P, K).

    Returns:
        logits (B * P, 4, 4g, 4g) and predicted IoU (B * P, 4); the first of the four is the
        single-mask output.
    """
    count, prompts = boxes.shape[:2]
    encoder, decoder = sam.prompt_encoder, sam.mask_decoder
    # a box is two points with labels 2 and 3; padding embeds as "not a point"
    corners = torch.nan_to_num(boxes).reshape(count * prompts, 2, 2)
    corner_labels = torch.where(
        boxes[..., :1].isnan(),
        torch.full((1, 2), NOT_A_POINT, device=boxes.device),
        torch.tensor([[2, 3]], device=boxes.device),
    ).reshape(count * prompts, 2)
    xy = torch.cat([points.reshape(count * prompts, -1, 2), corners], 1) + 0.5
    kind = torch.cat([labels.reshape(count * prompts, -1), corner_labels], 1)
    sparse = encoder.pe_layer.forward_with_coords(xy, encoder.input_image_size)
    sparse = torch.where((kind == NOT_A_POINT)[..., None], torch.zeros_like(sparse), sparse)
    table = torch.cat(
        [encoder.not_a_point_embed.weight, *(e.weight for e in encoder.point_embeddings)]
    )
    sparse = sparse + table[kind + 1]
    dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    source = embeddings.repeat_interleave(prompts, 0) + dense
    position = encoder.get_dense_pe().expand(len(source), -1, -1, -1)
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight], 0)
    tokens = torch.cat([output_tokens.expand(len(sparse), -1, -1), sparse], 1)
    hidden, source = decoder.transformer(source, position, tokens)
    n, c, g = len(tokens), embeddings.shape[1], embeddings.shape[-1]
    upscaled = decoder.output_upscaling(source.transpose(1, 2).reshape(n, c, g, g))
    hyper = torch.stack(
        [mlp(hidden[:, 1 + k]) for k, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1
    )
    logits = (hyper @ upscaled.flatten(2)).view(n, -1, 4 * g, 4 * g)
    return logits.float(), decoder.iou_prediction_head(hidden[:, 0]).float()


def mask_losses(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """20 x focal + dice loss as in SAM: (N, K, S, S) against bool (N, 1, S, S), gives (N, K)."""
    target = truth.float().expand_as(logits)
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    right = probability * target + (1 - probability) * (1 - target)
    balance = 0.25 * target + 0.75 * (1 - target)
    focal = (balance * (1 - right).square() * entropy).mean((2, 3))
    overlap = (probability * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + target.sum((2, 3)) + 1)
    return 20 * focal + dice


def sample(data: list[Shard], images: int, prompts: int, rng: np.random.Generator) -> tuple:
    """A batch: images uint8 (B, SIDE, SIDE, 3), boxes, points, labels, ambiguous (B, P), and
    masks bool (B, P, MASK_SIDE, MASK_SIDE)."""
    rows: list[list] = [[] for _ in range(6)]
    while len(rows[0]) < images:
        shard = data[rng.integers(len(data))]
        index = int(rng.integers(len(shard.images)))
        masks = shard.silhouettes(index)
        present = np.flatnonzero(masks.any((1, 2)))
        if not len(present):
            continue
        image, boxes = shard.images[index], np.array(shard.boxes[index])
        if rng.random() < 0.12:
            present = present[[rng.integers(len(present))]]
            image = heat_map(masks[present[0]], rng)
        if rng.random() < 0.5:
            image, masks = image[:, ::-1], masks[..., ::-1]
            boxes[:, [0, 2]] = SIDE - boxes[:, [2, 0]]
        if rng.random() < 0.5:
            image, masks, boxes = image.swapaxes(0, 1), masks.swapaxes(1, 2), boxes[:, [1, 0, 3, 2]]
        chosen = rng.choice(present, prompts)
        asked = [prompt(masks[k], boxes[k], rng) for k in chosen]
        rows[0].append(image)
        for column, values in zip(rows[1:5], zip(*asked, strict=True), strict=True):
            column.append(np.stack(values))
        rows[5].append(masks[chosen])
    return tuple(np.stack(r) for r in rows)


def main(
    out: Path = Path("assets/segmenter/sam.safetensors"),
    data: Path = Path("runs/data"),
    run: Path = Path("runs/segmenter"),
    steps: int = 4000,
    images: int = 8,
    prompts: int = 8,
    rate: float = 8e-4,
    shard_count: int = 60,
    seed: int = 0,
    workers: int = 2,
    device: str = "auto",
) -> None:
    """Train the segmenter; resumes from RUN, writes the weights to OUT."""
    torch.manual_seed(seed)
    where = pick_device(device)
    pictures = shards(data, seed, shard_count, workers=workers)
    sam = architectures.build_sam().to(where)

    def step(k: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        batch = sample(pictures, images, prompts, rng)
        image, boxes, points, labels, single, masks = (torch.from_numpy(b).to(where) for b in batch)
        pixels = (image.permute(0, 3, 1, 2).float() - sam.pixel_mean) / sam.pixel_std
        with autocast(where):
            embeddings = sam.image_encoder(pixels)
            logits, predicted = low_resolution_masks(sam, embeddings, boxes, points, labels)
        # judged on the grid that masks are cut at, finer than the logits
        logits = F.interpolate(logits, (MASK_SIDE, MASK_SIDE), mode="bilinear")
        truth = masks.flatten(0, 1)[:, None]
        losses = mask_losses(logits, truth)
        with torch.no_grad():
            on = logits > 0
            both = (on & truth).sum((2, 3)).float()
            iou = both / (on | truth).sum((2, 3)).clamp(min=1)
        single = single.flatten()
        # one point may mean a part or the whole: the best of three masks learns from it
        best = losses[:, 1:].min(1).values
        mask_loss = torch.where(single, (best + losses[:, 0]) / 2, losses[:, 0]).mean()
        iou_loss = (predicted - iou).square().mean()
        return {
            "loss": mask_loss + iou_loss,
            "iou_box": iou[~single, 0].mean(),
            "iou_point": iou[single, 1:].max(1).values.mean()
            if single.any()
            else iou.new_zeros(()),
        }

    def on_save(average: Sam, done: int) -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_sam(out, average)

    train(sam, step, Plan(steps=steps, rate=rate, seed=seed, warmup=300), run, on_save)
