"""A judge of what was painted: a classifier of item crops, trained on simulated crops only."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from xsyn_core.errors import XsynError
from xsyn_core.training import options
from xsyn_core.training.data import NAMES, Shard, shards
from xsyn_core.training.loop import Plan, autocast, pick_device, train

CROP = 64
# The most channels between the two convolutions of a block: more would not judge better.
NARROW = 96
# The other catalogues' words for things that look like one of PIDray's.
SAME = {
    "Folding_Knife": "Knife",
    "Straight_Knife": "Knife",
    "Utility_Knife": "Knife",
    "Multi-tool_Knife": "Knife",
    "Scissor": "Scissors",
    "Portable_Charger_1": "Powerbank",
    "Portable_Charger_2": "Powerbank",
    "Nonmetallic_Lighter": "Lighter",
}
# What can be told apart of the categories of all catalogues, PIDray's twelve first.
CLASSES = tuple(dict.fromkeys(SAME.get(name, name) for name in NAMES))
CLASS_OF = np.array([CLASSES.index(SAME.get(name, name)) for name in NAMES])


def class_of(category: str) -> int:
    """The index in `CLASSES` of a category of any catalogue."""
    return int(CLASS_OF[NAMES.index(category)])


def crop(image: np.ndarray, box: np.ndarray, margin: float = 0.1) -> np.ndarray:
    """The square around a box (uint8 (H, W, 3)), resampled to (CROP, CROP, 3).

    The box is in pixels; where the square leaves the image its border is repeated.
    """
    x1, y1, x2, y2 = box
    side = max(x2 - x1, y2 - y1) * (1 + 2 * margin)
    scale = CROP / side
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    matrix = np.array(
        [[scale, 0, CROP / 2 - scale * cx], [0, scale, CROP / 2 - scale * cy]], np.float32
    )
    if scale < 1:
        # warping does not average what it shrinks
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
    return cv2.warpAffine(image, matrix, (CROP, CROP), borderMode=cv2.BORDER_REPLICATE)


class Classifier(torch.nn.Module):
    """A small residual network; (B, 3, CROP, CROP) in [-1, 1] to logits (B, classes)."""

    def __init__(self, classes: int = len(CLASSES), widths: tuple[int, ...] = (32, 64, 128, 192)):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = torch.nn.ModuleList()
        before = widths[0]
        for width in widths:
            for stride in (2, 1):
                self.blocks.append(_Block(before, min(width, NARROW), width, stride))
                before = width
        self.head = torch.nn.Linear(before, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 192) features before the last layer, of (B, 3, CROP, CROP) in [-1, 1]."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


class _Block(torch.nn.Module):
    def __init__(self, before: int, between: int, width: int, stride: int):
        super().__init__()
        self.norm1 = torch.nn.GroupNorm(8, before)
        self.conv1 = torch.nn.Conv2d(before, between, 3, stride, 1)
        self.norm2 = torch.nn.GroupNorm(8, between)
        self.conv2 = torch.nn.Conv2d(between, width, 3, padding=1)
        self.skip = torch.nn.Conv2d(before, width, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(y)))


def tensor(crops: np.ndarray) -> torch.Tensor:
    """uint8 (B, CROP, CROP, 3) to float32 (B, 3, CROP, CROP) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def item_crops(data: list[Shard], loose: float, rng: np.random.Generator):
    """Every window's own item, in its clutter and on a plain background: crops uint8
    (N, CROP, CROP, 3) and class indices (N,).

    Args:
        loose: the box is moved and grown by up to this share of its size, as a grounding box
            around a painted item is.
    """
    images, classes = [], []
    for shard in data:
        for index in np.flatnonzero(~shard.whole):
            category = shard.categories[index][0]
            if category < 0:
                continue
            x1, y1, x2, y2 = shard.boxes[index][0]
            w, h = x2 - x1, y2 - y1
            box = np.array([x1, y1, x2, y2]) + rng.uniform(0, loose, 4) * (-w, -h, w, h)
            images += [crop(pictures[index], box) for pictures in (shard.images, shard.plain)]
            classes += 2 * [CLASS_OF[category]]
    return np.stack(images), np.array(classes)


def predict(model: Classifier, crops: np.ndarray) -> np.ndarray:
    """Class indices (N,) of uint8 crops (N, CROP, CROP, 3).

    No item has an upright in a bag: the word of a judge is the mean of its eight readings, in all
    quarter turns and mirrored.
    """

    def read(x: torch.Tensor) -> torch.Tensor:
        attitudes = [torch.rot90(y, turns, (2, 3)) for y in (x, x.flip(3)) for turns in range(4)]
        return torch.stack([model(y).log_softmax(1) for y in attitudes]).mean(0)

    return _batched(read, crops).argmax(1)


def features(model: Classifier, crops: np.ndarray) -> np.ndarray:
    """Features float32 (N, 192) of uint8 crops (N, CROP, CROP, 3)."""
    return _batched(model.features, crops)


def _batched(call: Callable[[torch.Tensor], torch.Tensor], crops: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        parts = [call(tensor(crops[k : k + 256])).numpy() for k in range(0, len(crops), 256)]
    return np.concatenate(parts)


def load(path: Path) -> Classifier:
    """The trained judge.

    Raises:
        XsynError: there are no such weights, or they tell another number of classes apart.
    """
    again = f"Train it with `python -m xsyn_core train classifier --out {path}`."
    if not path.is_file():
        raise XsynError(f"There is no judge of painted items at {path}. {again}")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise XsynError(f"The judge's weights {path} cannot be read: {error}. {again}") from error
    model = Classifier()
    known = weights["head.bias"].shape[0] if "head.bias" in weights else 0
    if known != len(CLASSES):
        raise XsynError(
            f"The judge at {path} knows {known} classes, but the catalogues' {len(NAMES)} "
            f"categories make {len(CLASSES)}. {again}"
        )
    try:
        model.load_state_dict({k: v.float() for k, v in weights.items()})
    except RuntimeError as error:
        raise XsynError(f"The weights {path} are not the judge's. {again}") from error
    return model.eval()


def learn(
    model: Classifier,
    images: np.ndarray,
    classes: np.ndarray,
    batch: int,
    plan: Plan,
    run: Path,
    on_save: Callable[[Classifier, int], None] | None = None,
    workers: int = 0,
) -> Classifier:
    """Train a classifier of crops uint8 (N, CROP, CROP, 3) with class indices (N,), shown at any
    quarter turn, mirrored, moved and softened; resumes from `run`.

    Rare classes are shown as often as common ones: a judge must not prefer any.
    """
    share = 1 / np.bincount(classes)[classes]
    share /= share.sum()
    where = next(model.parameters()).device

    def draw(k: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        rows = rng.choice(len(images), batch, p=share)
        x = tensor(images[rows])
        turns = int(rng.integers(4))
        x = torch.rot90(x, turns, (2, 3))
        x = x.flip(3) if rng.random() < 0.5 else x
        if rng.random() < 0.5:
            # painted items are a little soft: sharpness must not decide
            small = F.interpolate(x, scale_factor=float(rng.uniform(0.5, 1)), mode="area")
            x = F.interpolate(small, (CROP, CROP), mode="bilinear")
        shift = torch.from_numpy(rng.integers(-4, 5, 2))
        return torch.roll(x, shift.tolist(), (2, 3)), torch.from_numpy(classes[rows])

    def step(k: int, drawn: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        x, y = (values.to(where) for values in drawn)
        with autocast(where):
            logits = model(x).float()
        return {
            "loss": F.cross_entropy(logits, y, label_smoothing=0.05),
            "right": (logits.argmax(1) == y).float().mean(),
        }

    return train(model, draw, step, plan, run, on_save, workers)  # type: ignore[arg-type, return-value]


def main(
    out: options.Out = Path("assets/evaluation/classifier.safetensors"),
    data: options.Data = Path("runs/data"),
    run: options.Run = Path("runs/classifier"),
    base: options.Base = None,
    steps: options.Steps = 3000,
    batch: options.Batch = 64,
    rate: options.Rate = 1e-3,
    shard_count: options.ShardCount = 100,
    seed: options.Seed = 0,
    workers: options.Workers = 2,
    device: options.Device = "auto",
) -> None:
    """Train the judge of painted items on simulated crops; resumes from RUN, else goes on from the
    weights BASE, else starts anew."""
    options.writable_file(out)
    torch.manual_seed(seed)
    where = pick_device(device)
    model = load(base).train() if base else Classifier()
    options.writable_file(run / "checkpoint.pt")
    images, classes = item_crops(
        shards(data, seed, shard_count, workers=workers), 0.25, np.random.default_rng(seed)
    )

    def on_save(average: Classifier, done: int) -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.half().contiguous() for k, v in average.state_dict().items()}, out)

    plan = Plan(steps=steps, rate=rate, seed=seed, weight_decay=0.05)
    learn(model.to(where), images, classes, batch, plan, run, on_save, workers)
