"""What is asked for, and what comes out: `Request`, `PaintedObject`, `Occlusion`, `Sample`."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from xsyn_core.boxes import Box
from xsyn_core.categories import PIDRAY, Catalog
from xsyn_core.scan import Annotation, Scan

Variant = Literal["add", "modify"]
Sampler = Literal["ddim", "dpm++"]
FrameMode = Literal["window", "whole"]
Background = Literal["keep", "repaint"]
PointStrategy = Literal["median", "topk"]
OcclusionMode = Literal["latent", "every-step", "pixel"]


@dataclass(frozen=True)
class Grounding:
    """(e_i, l_i) of G: a category name and its grounding box in pixels of the scan."""

    category: str
    box: Box


@dataclass(frozen=True)
class Request:
    """One synthesis, the contract of page, command line and batch run.

    Attributes:
        groundings: G, at least one.
        variant: "add" (Xsyn-A) keeps all annotations; "modify" (Xsyn-M) repaints those in G.
        catalog: which categories can be asked for.
        seed: of the start noise, 0 to 2**31 - 1.
        steps: denoising steps, 1 to 1000 (50 in Section V-A); of full-size models, some numbers
            from 334 on are not possible.
        guidance: classifier-free guidance scale (7.5 in Section V-A).
        sampler: "ddim" as in the paper, "dpm++" for fewer steps.
        frame: "window" cuts a square around each box, or around those that are near each other
            where the background is repainted; "whole" fits the scan to the model.
        background: "keep" lays an item over the scan as it is (`compositing.absorption`), and
            takes away the annotated one that it replaces; "repaint" takes the repainted boxes as
            they come, as in the paper.
        points: "median" is MPS, "topk" its rival of Table VIII.
        divisions: n of MPS; 0 prompts SAM with the box alone. Top-k takes 2**n - 1 points.
        occlude: whether BOM is applied.
        alpha: degree of occlusion in Eq. 5, 0 to 1 (0.3 in Table VII).
        occlusion: "latent" is BOM; "every-step" and "pixel" are its rivals of Table IX.
        occluder: which occluder, an index into the candidates (modulo their number).
        placement: seed of Eq. 9, apart from `seed`.
    """

    groundings: tuple[Grounding, ...]
    variant: Variant = "add"
    catalog: Catalog = PIDRAY
    seed: int = 0
    steps: int = 50
    guidance: float = 7.5
    sampler: Sampler = "ddim"
    frame: FrameMode = "window"
    background: Background = "keep"
    points: PointStrategy = "median"
    divisions: int = 4
    occlude: bool = True
    alpha: float = 0.3
    occlusion: OcclusionMode = "latent"
    occluder: int = 0
    placement: int = 0


@dataclass(frozen=True)
class PaintedObject:
    """One painted item with its label and how it came about (Section IV-B).

    Attributes:
        category, grounding: e_i and l_i (pixels of the scan).
        refined: CAR's box, or the grounding box where CAR was implausible (see `flags`).
        mask: bool (H, W) of the scan, SAM's mask behind `refined`; None where there is none.
        window: box of the scan that `attention` and `region` cover.
        attention: float32 (h, w), M_i averaged over heads, layers and steps, resized to the window.
        region: bool (h, w), r_i.
        points: float32 (k, 2), P_i as x, y in pixels of the scan.
        labels: int (k,), 1 foreground, 0 background.
        flags: sentences for the operator about anything unusual, () if all is well.
    """

    category: str
    grounding: Box
    refined: Box
    mask: np.ndarray | None = field(compare=False)
    window: Box
    attention: np.ndarray = field(compare=False)
    region: np.ndarray = field(compare=False)
    points: np.ndarray = field(compare=False)
    labels: np.ndarray = field(compare=False)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Occlusion:
    """What BOM did: the occluder's box and the occluded boxes l'_j, all in pixels of the scan."""

    alpha: float
    occluder: Box
    occluded: tuple[Box, ...]


@dataclass(frozen=True)
class Sample:
    """A finished synthetic scan with its labels.

    Attributes:
        scan: the source.
        request: what was asked for.
        image: uint8 (H, W, 3), the final (occluded) image I*; equals the source outside the
            repainted boxes and occluded areas and their feather.
        clear: uint8 (H, W, 3), what CAR saw: the same without occlusion, or `image` itself where an
            occluder was blended inside the loop ("every-step").
        objects: the painted items, in the order of the groundings.
        kept: annotations of the scan that stay valid.
        occlusion: None where BOM is off or no occluder exists.
        prompt: Y.
        weights: hash of the models' weights, as hex.
        notes: sentences for the operator about the sample as a whole.
    """

    scan: Scan
    request: Request
    image: np.ndarray = field(compare=False)
    clear: np.ndarray = field(compare=False)
    objects: tuple[PaintedObject, ...]
    kept: tuple[Annotation, ...]
    occlusion: Occlusion | None
    prompt: str
    weights: str
    notes: tuple[str, ...] = ()
