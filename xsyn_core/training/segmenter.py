"""Train the embedded segmenter: SAM's promptable segmentation on simulated scans.

Besides boxes and clicks, its prompts are boxes with the points that median point sampling takes
from maps of attention, and its images include such maps, since refinement (Section IV-B) shows it
both. The maps are made up, but as vague as the embedded painter's.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam

from xsyn_core.boxes import clip, outward
from xsyn_core.refinement import median_points
from xsyn_core.sam_checkpoint import THRESHOLDS, load_sam, save_sam
from xsyn_core.sam_detail import DetailDecoder
from xsyn_core.simulation.visibility import VISIBLE, edge_contrast
from xsyn_core.training import architectures
from xsyn_core.training.data import SIDE
from xsyn_core.training.loop import Plan, autocast, pick_device, train
from xsyn_core.training.segmenter_data import Pictures, pictures

# (with a box, foreground points, background points) and how often. A batch has prompts of one
# kind: padding them to one length would show the decoder tokens that it never meets in use.
KINDS = (
    (True, 0, 0),
    (False, 1, 0),
    (False, 3, 1),
    (True, 1, 1),
    (True, 3, 1),
    (True, 7, 1),
    (True, 15, 1),
)
BOXES_FIRST = 300
# Share of whole scans; the others are windows.
WHOLE = 0.3
# Times the size of what is asked for; the narrowest of the windows that are learnt.
ZOOM = 1.4
# Share of windows that are shown as coarse as cut from a scan of few pixels, down to this share
# of a side; noise of a pixel, levels.
COARSE, LEAST_SIDE, NOISE = 0.6, 0.1, 4.0
# Share of the objects that cannot be seen which are asked for all the same.
UNSEEN = 0.3
SHARES = (0.24, 0.28, 0.04, 0.10, 0.10, 0.10, 0.14)
# Share of the prompts with a box alone that ask for the object in a map of its attention.
HEAT = 0.4
# Such maps, measured on those of the painter for items of known place: cells a side; a glow all
# over the grounding box, as a share; blur, in cells of the coarser grid; unevenness, from the least
# factor on, in so many patches a side; mean stray activity.
CELLS, GLOW, BLUR, LEAST, PATCHES, STRAY = (16, 32), (0.1, 0.7), (0.5, 1.4), 0.1, 8, (0.0, 0.03)
# How much larger than the object r_i is, from and to.
REGION = (0.7, 1.7)


def heat_map(mask: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A made-up attention map of an object: coarse, blurred, uneven, with a glow in its box.

    Args:
        mask: bool (S, S).
        box: l_i, pixels of the mask.

    Returns:
        float32 (S, S), 0 or more.
    """
    side = mask.shape[0]
    cells = int(rng.choice(CELLS, p=(0.8, 0.2)))
    scale = cells / CELLS[0]

    def coarse(values: np.ndarray, blur: float) -> np.ndarray:
        patches = rng.uniform(LEAST, 1, (PATCHES, PATCHES)).astype(np.float32)
        uneven = cv2.resize(patches, (cells, cells), interpolation=cv2.INTER_CUBIC)
        small = cv2.resize(values.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(small * uneven, (0, 0), blur * scale)

    item = coarse(mask, rng.uniform(*BLUR))
    x1, y1, x2, y2 = np.rint(box).astype(int)
    filled = np.zeros(mask.shape, bool)
    filled[max(y1, 0) : y2, max(x1, 0) : x2] = True
    glow = rng.uniform(*GLOW)
    total = (1 - glow) * item / max(item.max(), 1e-6) + glow * coarse(filled, BLUR[0])
    total += rng.exponential(1, total.shape) * rng.uniform(*STRAY)
    fine = cv2.resize(total.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.maximum(fine, 0)


def picture_of(heat: np.ndarray) -> np.ndarray:
    """A map (S, S) as SAM sees it: uint8 (SIDE, SIDE, 3), grey, brightest where most active."""
    grey = (heat / max(heat.max(), 1e-6) * 255).round().astype(np.uint8)
    grey = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.repeat(grey[..., None], 3, 2)


def attended(
    mask: np.ndarray,
    box: np.ndarray,
    kind: tuple[bool, int, int],
    rng: np.random.Generator,
    side: int = SIDE,
) -> tuple[np.ndarray, np.ndarray]:
    """Points as refinement gives them: median points of a made-up map, around the object in `box`.

    Args:
        mask: bool (S, S), not empty.
        box: l_i, pixels of a square image.
        kind: with 2**n - 1 foreground points.
        side: of that image.

    Returns:
        points float32 (2**n, 2), labels float32 (2**n,); see `median_points`.
    """
    scale = side / mask.shape[0]
    place = clip(tuple(box / scale), mask.shape)
    heat = heat_map(mask, np.array(place), rng)
    x1, y1, x2, y2 = outward(place)
    values = heat[y1:y2, x1:x2]
    share = mask[y1:y2, x1:x2].mean() * rng.uniform(*REGION)
    region = np.zeros(mask.shape, bool)
    region[y1:y2, x1:x2] = values >= np.quantile(values, 1 - min(share, 0.9))
    points, labels = median_points(heat, region, place, (kind[1] + 1).bit_length() - 1)
    return (points * scale).astype(np.float32), labels.astype(np.float32)


def prompt(
    mask: np.ndarray,
    box: np.ndarray,
    kind: tuple[bool, int, int],
    rng: np.random.Generator,
    side: int = SIDE,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random prompt for an object.

    Args:
        mask: bool (S, S), not empty.
        box: float (4,), pixels of a square image.
        kind: one of `KINDS`.
        side: of that image.

    Returns:
        box float32 (4,), points float32 (k, 2) as x, y, labels float32 (k,); all in pixels of the
        square image.
    """
    boxed, inside, outside = kind
    scale = side / mask.shape[0]
    w, h = box[2] - box[0], box[3] - box[1]
    # tight for a known label, loose as a grounding box is
    spread, grow = (0.04, 0.0) if rng.random() < 0.5 else (0.2, 0.15)
    shift = rng.normal(0, spread, 4).clip(-2 * spread, 2 * spread)
    loose = np.clip(box + (shift + (-grow, -grow, grow, grow)) * (w, h, w, h), 0, side)
    ys, xs = np.nonzero(mask)
    if inside == 1:
        # a click lands well inside more often than on the rim
        depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)
        depth = depth[ys + 1, xs + 1].astype(np.float64)
        chosen = rng.choice(len(xs), 1, p=depth / depth.sum())
    else:
        chosen = rng.choice(len(xs), inside)
    points = [np.stack([xs[chosen], ys[chosen]], 1)]
    if outside:
        y, x = np.nonzero(~mask)
        if boxed:
            x1, y1, x2, y2 = loose / scale
            within = (x > x1) & (x < x2) & (y > y1) & (y < y2)
            if within.any():
                x, y = x[within], y[within]
        k = rng.integers(len(x)) if len(x) else None
        points.append(np.array([[x[k], y[k]]]) if k is not None else np.zeros((1, 2)))  # type: ignore[arg-type]
    xy = np.concatenate(points).astype(np.float32)
    xy = (xy + rng.uniform(0, 1, xy.shape)) * scale
    labels = np.array([1] * inside + [0] * outside, np.float32)
    return loose.astype(np.float32), xy.astype(np.float32), labels


def decode(
    sam: Sam, embeddings: torch.Tensor, boxes: torch.Tensor, points, labels, kind
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode P prompts of one kind for each of B images in one batch.

    Args:
        embeddings: (B, C, g, g), from the image encoder.
        boxes: (B, P, 4). points: (B, P, k, 2). labels: (B, P, k).

    Returns:
        logits (B * P, 4, 4g, 4g) and predicted IoU (B * P, 4); the first of the four is the
        single-mask output.
    """
    prompts = boxes.shape[1]
    decoder = sam.mask_decoder
    sparse, _ = sam.prompt_encoder(
        (points.flatten(0, 1), labels.flatten(0, 1)) if points.shape[2] else None,
        boxes.flatten(0, 1) if kind[0] else None,
        None,
    )
    # SAM's own decoder takes one image at a time
    detailed = isinstance(decoder, DetailDecoder)
    features, details = decoder.split(embeddings) if detailed else (embeddings, None)
    source = features + sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    source = source.repeat_interleave(prompts, 0)
    position = sam.prompt_encoder.get_dense_pe().expand(len(source), -1, -1, -1)
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight], 0)
    tokens = torch.cat([output_tokens.expand(len(sparse), -1, -1), sparse], 1)
    hidden, image = decoder.transformer(source, position, tokens)
    masks = hidden[:, 1 : 1 + decoder.num_mask_tokens]
    if detailed:
        logits = decoder.draw(image, masks, details)
    else:
        pixels = decoder.output_upscaling(image.transpose(1, 2).view_as(source))
        mlps = decoder.output_hypernetworks_mlps
        weights = torch.stack([mlp(masks[:, k]) for k, mlp in enumerate(mlps)], 1)
        logits = (weights @ pixels.flatten(2)).unflatten(2, pixels.shape[2:])
    return logits.float(), decoder.iou_prediction_head(hidden[:, 0]).float()


def mask_losses(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Focal and dice loss: (N, K, S, S) against a share of each cell, 0 to 1, of (N, 1, S, S);
    gives (N, K).

    As in SAM, but the focal part favours the object, for most are so small that a model trained
    from nothing would otherwise settle on empty masks; and its exponent is 1, for a short training
    with 2 leaves the logits too flat to tell stable masks from others.
    """
    target = truth.float()
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    balance = 0.2 + 0.6 * target
    focal = (balance * (probability - target).abs() * entropy).mean((2, 3))
    overlap = (probability * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + target.sum((2, 3)) + 1)
    return 10 * focal + dice


def sample(
    data: list[Pictures], images: int, prompts: int, kind, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """A batch: images uint8 (B, SIDE, SIDE, 3), boxes (B, P, 4), points (B, P, k, 2), labels
    (B, P, k), masks bool (B, P, MASK_SIDE, MASK_SIDE)."""
    rows: list[list] = [[] for _ in range(5)]
    while len(rows[0]) < images:
        shard = data[rng.integers(len(data))]
        index = int(rng.choice(np.flatnonzero(shard.whole == (rng.random() < WHOLE))))
        masks = shard.silhouettes(index)
        present = np.flatnonzero(masks.any((1, 2)))
        # what nobody can see teaches little but to guess
        contrast = edge_contrast(shard.images[index], masks[present])
        present = present[(contrast >= VISIBLE) | (rng.random(len(present)) < UNSEEN)]
        if not len(present):
            continue
        image, boxes = shard.images[index], np.array(shard.boxes[index])
        if not shard.whole[index] and rng.random() < COARSE:
            image = _coarse(image, rng)
        if rng.random() < 0.5:
            image, masks = image[:, ::-1], masks[..., ::-1]
            boxes[:, [0, 2]] = SIDE - boxes[:, [2, 0]]
        if rng.random() < 0.5:
            image, masks, boxes = image.swapaxes(0, 1), masks.swapaxes(1, 2), boxes[:, [1, 0, 3, 2]]
        if kind == KINDS[0] and rng.random() < HEAT:
            # the glow of a map tells its box
            chosen = np.full(prompts, rng.choice(present))
            mask = masks[chosen[0]]
            asked = [prompt(mask, boxes[chosen[0]], kind, rng)] * prompts
            image = picture_of(heat_map(mask, asked[0][0] * len(mask) / SIDE, rng))
        else:
            chosen = rng.choice(present, prompts)
            if not shard.whole[index] and present[0] == 0:
                # what the window was cut around
                chosen[: prompts // 2] = 0
            if kind[0] and kind[1]:
                loose = [prompt(masks[k], boxes[k], KINDS[0], rng)[0] for k in chosen]
                asked = [
                    (box, *attended(masks[k], box, kind, rng))
                    for k, box in zip(chosen, loose, strict=True)
                ]
            else:
                asked = [prompt(masks[k], boxes[k], kind, rng) for k in chosen]
        rows[0].append(image)
        for column, values in zip(rows[1:4], zip(*asked, strict=True), strict=True):
            column.append(np.stack(values))
        rows[4].append(masks[chosen])
    return tuple(np.stack(r) for r in rows)


def _coarse(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A window uint8 (SIDE, SIDE, 3) as if it was cut from a scan of fewer pixels, each with its
    noise."""
    side = round(SIDE * LEAST_SIDE ** rng.random())
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    small += rng.normal(0, abs(rng.normal(0, NOISE)), small.shape)
    fine = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return fine.round().clip(0, 255).astype(np.uint8)


@torch.no_grad()
def thresholds(sam: Sam, data: list[Pictures], where: torch.device) -> tuple[float, float]:
    """The least predicted IoU and stability for "everything": single points on objects pass by
    four in five, so that a modest model still finds half of what can be seen, and a good one drops
    its worst.

    Never above the thresholds of the original.
    """
    batch = sample(data, 32, 4, (False, 1, 0), np.random.default_rng(4))
    image, boxes, points, labels, _ = (torch.from_numpy(b).to(where) for b in batch)
    pixels = (image.permute(0, 3, 1, 2).float() - sam.pixel_mean) / sam.pixel_std
    with autocast(where):
        embeddings = sam.image_encoder(pixels)
        logits, predicted = decode(sam, embeddings, boxes, points, labels, (False, 1, 0))
    best = predicted[:, 1:].max(1)
    chosen = logits[torch.arange(len(logits)), best.indices + 1]
    stable = (chosen > 1).sum((1, 2)) / (chosen > -1).sum((1, 2)).clamp(min=1)
    least = (torch.quantile(v.float(), 0.2).item() for v in (best.values, stable))
    return tuple(map(min, least, THRESHOLDS))  # type: ignore[return-value]


def main(
    out: Path = Path("assets/segmenter/sam.safetensors"),
    data: Path = Path("runs/data"),
    run: Path = Path("runs/segmenter"),
    base: Path | None = None,
    steps: int = 4000,
    images: int = 8,
    prompts: int = 8,
    rate: float = 1.2e-3,
    shard_count: int = 60,
    seed: int = 0,
    workers: int = 2,
    device: str = "auto",
) -> None:
    """Train the embedded segmenter on simulated scans; resumes from RUN, else goes on from the
    weights BASE, else starts anew; writes the weights to OUT."""
    torch.manual_seed(seed)
    where = pick_device(device)
    shards = pictures(data, seed, shard_count, workers)
    sam = load_sam(base).requires_grad_(True) if base else architectures.build_sam()
    sam = sam.to(where)

    def step(k: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        # boxes alone first: they are the shortest way out of the empty mask
        kind = KINDS[0 if base is None and k < BOXES_FIRST else rng.choice(len(KINDS), p=SHARES)]
        batch = sample(shards, images, prompts, kind, rng)
        image, boxes, points, labels, masks = (torch.from_numpy(b).to(where) for b in batch)
        pixels = (image.permute(0, 3, 1, 2).float() - sam.pixel_mean) / sam.pixel_std
        with autocast(where):
            embeddings = sam.image_encoder(pixels)
            logits, predicted = decode(sam, embeddings, boxes, points, labels, kind)
        if kind != (False, 1, 0):
            logits, predicted = logits[:, :1], predicted[:, :1]
        truth = F.adaptive_avg_pool2d(masks.flatten(0, 1)[:, None].float(), logits.shape[-2:])  # type: ignore[arg-type]
        losses = mask_losses(logits, truth)
        with torch.no_grad():
            on, there = logits > 0, truth > 0.5
            both = (on & there).sum((2, 3)).float()
            iou = both / (on | there).sum((2, 3)).clamp(min=1)
        iou_loss = (predicted - iou).square().mean()
        if kind == (False, 1, 0):
            # one point may mean a part or the whole: the best of three masks learns from it
            mask_loss = (losses[:, 1:].min(1).values + losses[:, 0]).mean() / 2
            shown = {"iou_point": iou[:, 0].mean(), "iou_best": iou[:, 1:].max(1).values.mean()}
        else:
            mask_loss = losses[:, 0].mean()
            shown = {"iou_box" if kind[0] else "iou_points": iou[:, 0].mean()}
        return {"loss": mask_loss + iou_loss, **shown}

    def on_save(average: Sam, done: int) -> None:
        save_sam(out, average, thresholds(average, shards, where), ZOOM)

    train(
        sam, step, Plan(steps=steps, rate=rate, seed=seed, warmup=50 if base else 300), run, on_save
    )
