"""Random prompts for SAM, its answers to many at once, and what its masks are judged by."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam

from xsyn_core.sam_detail import DetailDecoder
from xsyn_core.training.data import SIDE

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
SHARES = (0.24, 0.28, 0.04, 0.10, 0.10, 0.10, 0.14)


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


@torch.no_grad()
def mask_iou(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """IoU of logits (B, K, s, s) with shares of cells (B, 1, s, s): (B, K)."""
    on, there = logits > 0, truth > 0.5
    return (on & there).sum((2, 3)).float() / (on | there).sum((2, 3)).clamp(min=1)


def click_losses(
    logits: torch.Tensor, predicted: torch.Tensor, truth: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses (N,) of answers of `decode` to clicks, and their `mask_iou` (N, K)."""
    each, iou = mask_losses(logits, truth), mask_iou(logits, truth)
    # a click may mean a part or the whole: the best of three masks learns from it
    drawn = (each[:, 1:].min(1).values + each[:, 0]) / 2
    return drawn + (predicted - iou).square().mean(1), iou


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
