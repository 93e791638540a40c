"""Train the embedded denoiser: grounded inpainting (Eq. 1) on cached latents of windows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from xsyn_core import grounding
from xsyn_core.attitudes import Attitudes, hint, words
from xsyn_core.categories import phrase
from xsyn_core.errors import XsynError
from xsyn_core.frames import resample
from xsyn_core.training import architectures, objective, options
from xsyn_core.training.architectures import CELL, FINISHING
from xsyn_core.training.attending import Attending, attention_loss
from xsyn_core.training.data import NAMES, SIDE, WINDOW, Shard, halved, shards
from xsyn_core.training.loop import Plan, autocast, pick_device, train
from xsyn_core.training.objective import Denoiser

SLOTS = architectures.GROUNDING_SLOTS
# More items than this in one window are rare, in training as in use.
MOST = 3
# Share of the timesteps that are drawn evenly.
EVEN = 0.15
# Share of windows in which the item is to be painted on a plain background: nobody can foresee the
# clutter in a box, and learning to draw it costs the item its outline. Added items are laid over
# the scan's own clutter afterwards (see `compositing.absorption`).
PLAIN = 0.85
# Share of windows whose attitudes are not told: labels and fine-tuning know none.
UNTOLD = 0.25
# How many attitudes of each category the model is written with.
LISTED = 240
# Weight of `attention_loss`.
ATTENDED = 0.5
# Every second batch is of windows of twice the side, as large items are finished (see
# `xsyn_core.finishing`). They are so many times fewer, for each costs so many times as much.
FEWER = 4
# What a painter leaves to be finished errs by up to this share of a latent's deviation.
ERRS = 0.3


@dataclass(frozen=True)
class Latents:
    """Cached inputs of the denoiser; N windows on a grid of g x g cells.

    Attributes:
        clean: float16 (N, c, g, g), scaled latents of the windows.
        masked: float16 (N, c, g, g), of the windows with their grounding boxes greyed out.
        boxes: float32 (N, SLOTS, 4), grounding boxes in 0..1, zeros where unused.
        categories: int16 (N, SLOTS), index into `data.NAMES`, -1 where unused.
        attitudes: str (N, SLOTS), see `attitudes.words`, "" where unused.
        items: uint8 (N, g, g), share of each cell covered by the items (0 to 255).
        coarse: float16 (N, c, g, g), as `clean`, with what a painter of windows of WINDOW pixels
            leaves in the boxes; of windows of that side `clean` itself, in no memory of its own.
    """

    clean: np.ndarray
    masked: np.ndarray
    boxes: np.ndarray
    categories: np.ndarray
    attitudes: np.ndarray
    items: np.ndarray

    coarse: np.ndarray

    def hints(self, row: int, told: bool) -> np.ndarray:
        """The `attitudes.hint` of a window's objects, with their attitudes or without."""
        said = self.attitudes[row].tolist() if told else [""] * SLOTS
        return hint(said, self.boxes[row].tolist(), self.clean.shape[1:])

    def phrases(self, row: int, told: bool) -> tuple[str, ...]:
        """How the objects of a window are described, with their attitudes or without."""
        used = self.categories[row] >= 0
        names = [NAMES[k] for k in self.categories[row][used]]
        return grounding.phrases(names, self.attitudes[row][used].tolist() if told else ())


def loosened(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grounding box around an item that need not touch it (0..1, clipped)."""
    w, h = box[2] - box[0], box[3] - box[1]
    grow = rng.uniform(0, 0.2, 4) * (w, h, w, h)
    return np.clip(box + grow * (-1, -1, 1, 1), 0, 1).astype(np.float32)


def keep_mask(boxes: np.ndarray, grid: int) -> np.ndarray:
    """The inpainting mask on the latent grid, 1 keeps and 0 repaints: bool (grid, grid)."""
    mask = np.ones((grid, grid), bool)
    for x1, y1, x2, y2 in boxes * grid:
        if x2 > x1:
            mask[int(np.floor(y1)) : int(np.ceil(y2)), int(np.floor(x1)) : int(np.ceil(x2))] = 0
    return mask


def turned_pose(angle: float, mirrored: bool, turns: int, flip: bool) -> tuple[float, bool]:
    """Where an item points (degrees clockwise) and whether it is mirrored, once its picture was
    turned by `np.rot90` so often and then flipped left to right."""
    angle = float(angle) - 90 * turns
    return (180 - angle, not mirrored) if flip else (angle, bool(mirrored))


def _encode(vae: AutoencoderKL, images: np.ndarray, where: torch.device) -> np.ndarray:
    x = torch.from_numpy(images).to(where).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad(), autocast(where):
        mean = vae.encode(F.pixel_unshuffle(x, architectures.PATCH)).latent_dist.mean
    return (mean.float() * vae.config.scaling_factor).half().cpu().numpy()


def coarsened(
    vae: AutoencoderKL,
    images: np.ndarray,
    boxes: np.ndarray,
    rng: np.random.Generator,
    where: torch.device,
) -> np.ndarray:
    """Windows uint8 (N, SIDE, SIDE, 3) with what a painter of half the side leaves in their boxes:
    as coarse as that, as the autoencoder shows it, and with its errors."""
    latents = torch.from_numpy(_encode(vae, np.stack([halved(x) for x in images]), where)).float()
    errors = rng.standard_normal(latents.shape, np.float32)
    errors *= rng.uniform(0, ERRS, (len(latents), 1, 1, 1)).astype(np.float32)
    latents = (latents + torch.from_numpy(errors)).to(where) / vae.config.scaling_factor
    with torch.no_grad(), autocast(where):
        decoded = F.pixel_shuffle(vae.decode(latents).sample, architectures.PATCH)
    pixels = ((decoded.float().clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).cpu().numpy()
    found = images.copy()
    for image, painted, some in zip(found, pixels, boxes, strict=True):
        keep = keep_mask(some, SIDE // CELL).repeat(CELL, 0).repeat(CELL, 1)
        larger = resample(np.ascontiguousarray(painted), (SIDE, SIDE))
        image[~keep] = np.clip(np.rint(larger), 0, 255).astype(np.uint8)[~keep]
    return found


def window(
    shard: Shard, index: int, rng: np.random.Generator, side: int = WINDOW
) -> dict[str, np.ndarray]:
    """One row of `Latents` from a window of a shard, turned, flipped and boxed at random, with
    pictures uint8 (side, side, 3) in the place of latents; side is WINDOW or SIDE."""
    grid = side // CELL
    plain = rng.random() < PLAIN
    chosen = [0]
    for other in range(1, len(shard.categories[index])):
        b = shard.boxes[index][other]
        inside = (b[:2] > 2).all() and (b[2:] < SIDE - 2).all()
        big = min(b[2] - b[0], b[3] - b[1]) > SIDE / 12
        known = shard.categories[index][other] >= 0
        if not plain and known and inside and big and len(chosen) < MOST and rng.random() < 0.4:
            chosen.append(other)
    turns, flip = int(rng.integers(4)), rng.random() < 0.5

    def turned(image: np.ndarray) -> np.ndarray:
        image = np.rot90(image, turns)
        return image[:, ::-1] if flip else image

    boxes = np.zeros((SLOTS, 4), np.float32)
    categories = np.full(SLOTS, -1, np.int16)
    attitudes = np.zeros(SLOTS, "<U24")
    for slot, k in enumerate(chosen):
        x1, y1, x2, y2 = shard.boxes[index][k] / SIDE
        for _ in range(turns):
            x1, y1, x2, y2 = y1, 1 - x2, y2, 1 - x1
        if flip:
            x1, x2 = 1 - x2, 1 - x1
        boxes[slot] = loosened(np.array([x1, y1, x2, y2]), rng)
        categories[slot] = shard.categories[index][k]
        pose = turned_pose(shard.angles[index][k], shard.mirrored[index][k], turns, flip)
        attitudes[slot] = words(str(shard.kinds[index][k]), *pose)
    keep = keep_mask(boxes, grid).repeat(CELL, 0).repeat(CELL, 1)[..., None]
    sized = halved if side == WINDOW else np.asarray
    picture = turned(sized(shard.images[index]))
    inside_box = turned(sized(shard.plain[index])) if plain else picture
    item = turned(np.any(shard.silhouettes(index)[chosen], axis=0))
    cells = item.reshape(grid, -1, grid, item.shape[1] // grid).mean((1, 3))
    return {
        "clean": np.where(keep, picture, inside_box),
        # grey is 0 in [-1, 1]
        "masked": np.where(keep, picture, 127.5).astype(np.uint8),
        "boxes": boxes,
        "categories": categories,
        "attitudes": attitudes,
        "items": (cells * 255).astype(np.uint8),
    }


def cache_latents(
    vae: AutoencoderKL,
    data: Path,
    folder: Path,
    seed: int,
    shard_count: int,
    looks: int,
    copies: int,
    workers: int,
    where: torch.device,
    side: int = WINDOW,
) -> Latents:
    """Encode every window of every look `copies` times, each time another `window`."""
    for number, shard in enumerate(copies * shards(data, seed, shard_count, looks, workers)):
        part = folder / f"{number:05d}.npz"
        if part.exists():
            continue
        rng = np.random.default_rng((seed, number, 17))
        rows = [window(shard, int(k), rng, side) for k in np.flatnonzero(~shard.whole)]
        columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        some = [slice(k, k + 64) for k in range(0, len(rows), 64)]
        pictures = ["clean", "masked"]
        if side != WINDOW:
            x, boxes = columns["clean"], columns["boxes"]
            left = [coarsened(vae, x[k], boxes[k], rng, where) for k in some]
            columns["coarse"] = np.concatenate(left)
            pictures.append("coarse")
        for name in pictures:
            columns[name] = np.concatenate([_encode(vae, columns[name][k], where) for k in some])
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{number:05d}.new.npz"
        np.savez(temporary, **columns)  # type: ignore[arg-type]
        temporary.rename(part)
        tqdm.write(f"latents of shard {number}: {len(rows)} windows")
    parts = [np.load(folder / f"{k:05d}.npz") for k in range(shard_count * looks * copies)]
    columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0].files}
    return Latents(**{"coarse": columns["clean"], **columns})


def timesteps(count: int, rng: np.random.Generator) -> np.ndarray:
    """Timesteps to learn from, int64 (count,) in 0..999.

    Most are drawn logit-normally (Esser et al., ICML 2024) around the noise at which the shapes of
    items are decided on a grid this small; some evenly, for painting starts from pure noise.
    """
    even = objective.spread(count, rng)
    normal = torch.special.ndtri(torch.from_numpy(even))
    middle = torch.sigmoid(0.5 + 0.9 * normal).numpy()
    return (np.where(rng.random(count) < EVEN, even, middle) * 1000).astype(np.int64)


def finishing_timesteps(count: int, rng: np.random.Generator) -> np.ndarray:
    """Timesteps to learn from at twice the side, int64 (count,) in 0..FINISHING - 1."""
    return (objective.spread(count, rng) * FINISHING).astype(np.int64)


def listed(cached: Latents, seed: int) -> Attitudes:
    """`LISTED` attitudes of each category by chance, with the boxes around them."""
    rng = np.random.default_rng(seed)
    known: dict[str, list[tuple[str, float]]] = {}
    for row in rng.permutation(len(cached.boxes)):
        x1, y1, x2, y2 = cached.boxes[row, 0]
        some = known.setdefault(NAMES[cached.categories[row, 0]], [])
        if len(some) < LISTED:
            some.append((str(cached.attitudes[row, 0]), round(float((x2 - x1) / (y2 - y1)), 2)))
    return Attitudes({name: known[name] for name in NAMES if name in known})


def chances(categories: np.ndarray) -> np.ndarray:
    """The chance of each window to be drawn, float64 (N,), by the category of its item (N,).

    A category with a quarter of another's windows is drawn half as often: the catalogues share
    the simulator's scans unevenly, and every category is asked for as often as any other.
    """
    rarity = 1 / np.sqrt(np.bincount(categories)[categories])
    return rarity / rarity.sum()


def _begin(base: Path | None, tokenizer: CLIPTokenizer) -> Denoiser:
    """The models of a diffusers folder, or fresh ones.

    Raises:
        XsynError: the folder's text encoder reads other words.
    """
    if base is not None:
        text = CLIPTextModel.from_pretrained(base, subfolder="text_encoder").float()
        if text.config.vocab_size != len(tokenizer):
            raise XsynError(
                f"{base} knows {text.config.vocab_size} tokens where this recipe has "
                f"{len(tokenizer)}. Go on from weights of this recipe, or without --base."
            )
        unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet").float()
        unet.register_to_config(finishing=FINISHING)
        return Denoiser(unet, text)
    unet = architectures.build_unet(WINDOW // CELL)
    # zero gates would leave grounding without a gradient for long
    for name, parameter in unet.named_parameters():
        if name.endswith(("alpha_attn", "alpha_dense")):
            torch.nn.init.constant_(parameter, 0.5)
    return Denoiser(unet, architectures.build_text_encoder(tokenizer))


def main(
    vae: Annotated[Path, typer.Option(help="Autoencoder, a diffusers folder.")] = Path(
        "assets/diffusion/vae"
    ),
    base: options.Base = None,
    out: options.Out = Path("assets/diffusion"),
    data: options.Data = Path("runs/data"),
    latents: Annotated[Path, typer.Option(help="Cache of encoded windows.")] = Path("runs/latents"),
    run: options.Run = Path("runs/denoiser"),
    steps: options.Steps = 6000,
    batch: options.Batch = 64,
    rate: options.Rate = 1.2e-3,
    shard_count: options.ShardCount = 100,
    looks: Annotated[int, typer.Option(min=1, help="Scanners that show each window.")] = 2,
    copies: Annotated[int, typer.Option(min=1, help="Times each is turned and boxed anew.")] = 1,
    seed: options.Seed = 0,
    workers: options.Workers = 2,
    device: options.Device = "auto",
) -> None:
    """Train the embedded denoiser on simulated scans; resumes from RUN, else goes on from the
    diffusers folder BASE, else starts anew; writes a diffusers folder to OUT."""
    torch.manual_seed(seed)
    where = pick_device(device)
    tokenizer = architectures.build_tokenizer()
    model = _begin(base, tokenizer).to(where)
    autoencoder = AutoencoderKL.from_pretrained(vae).float().eval().to(where)
    cached, finer = (
        cache_latents(
            *(autoencoder, data, folder, seed, shard_count, looks, times, workers, where), side
        )
        for folder, times, side in ((latents, copies, WINDOW), (latents / "finer", 1, SIDE))
    )
    scheduler = architectures.build_scheduler()
    # the backward of fused attention is slow on a CPU
    if where.type == "cpu":
        model.unet.set_attn_processor(AttnProcessor())
    alphas = scheduler.alphas_cumprod.to(where)
    start = alphas[FINISHING - 1]
    phrases = [phrase(name) for name in NAMES]

    def tokens(texts: list[str], padding: str = "max_length") -> torch.Tensor:
        return tokenizer(
            texts, padding=padding, max_length=77, truncation=True, return_tensors="pt"
        ).input_ids

    lengths = torch.tensor([len(ids) - 2 for ids in tokenizer(phrases).input_ids], device=where)
    attending = Attending(model.unet)
    attitudes = listed(cached, seed)
    chance, finer_chance = (chances(some.categories[:, 0]) for some in (cached, finer))
    fewer = max(1, batch // FEWER)

    def draw(k: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        some, count, p, noises = (
            (finer, fewer, finer_chance, finishing_timesteps)
            if k % 2
            else (cached, batch, chance, timesteps)
        )
        rows = np.sort(rng.choice(len(p), count, replace=False, p=p))
        dropped = objective.drops(count, rng)
        silent = (rng.random(count) < UNTOLD) | dropped
        described = [some.phrases(row, not u) for row, u in zip(rows, silent, strict=True)]
        texts = [
            "" if d else grounding.SEPARATOR.join(said)
            for d, said in zip(dropped.tolist(), described, strict=True)
        ]
        boxes, clean = some.boxes[rows], some.clean[rows]
        grid = clean.shape[-1]
        columns = {
            "clean": clean.astype(np.float32),
            "coarse": some.coarse[rows].astype(np.float32),
            "masked": some.masked[rows].astype(np.float32),
            "keep": np.stack([keep_mask(b, grid) for b in boxes])[:, None].astype(np.float32),
            "hints": np.stack(
                [some.hints(row, not u) for row, u in zip(rows, silent, strict=True)]
            ),
            "items": some.items[rows][:, None].astype(np.float32) / 255,
            "boxes": boxes,
            "categories": some.categories[rows].astype(np.int64),
            "dropped": dropped,
            "timesteps": noises(count, rng),
            "noise": rng.standard_normal(clean.shape, np.float32),
        }
        return {
            **{name: torch.from_numpy(values) for name, values in columns.items()},
            "text": tokens(texts),
            # the text model is causal: what follows a phrase does not change it
            "phrases": tokens([text for said in described for text in said], "longest"),
        }

    def step(k: int, drawn: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        drawn = {name: values.to(where) for name, values in drawn.items()}
        z0, keep, items = drawn["clean"], drawn["keep"], drawn["items"]
        categories, dropped, noise = drawn["categories"], drawn["dropped"], drawn["noise"]
        used = categories >= 0
        t = drawn["timesteps"]
        a = alphas[t].view(-1, 1, 1, 1)
        noise = objective.leading(noise, drawn["coarse"], z0, start)
        noisy = objective.noised(z0, noise, a)
        velocity = objective.target(z0, noise, a, "v_prediction")
        inputs = objective.unet_input(noisy, drawn["masked"], keep, drawn["hints"])
        with autocast(where):
            text = model.text_encoder(drawn["text"]).last_hidden_state
            pooled = model.text_encoder(drawn["phrases"]).pooler_output
            embeddings = pooled.new_zeros(*used.shape, pooled.shape[1])
            embeddings[used] = pooled
            grounded = {
                "boxes": drawn["boxes"],
                "positive_embeddings": embeddings,
                "masks": (used & ~dropped[:, None]).float(),
            }
            output = model.unet(
                inputs.to(memory_format=torch.channels_last),
                t,
                text,
                cross_attention_kwargs={"gligen": grounded},
            ).sample.float()
            # a phrase stands between the token of the beginning and that of the end
            place = torch.arange(text.shape[1], device=where)[None]
            named = (place > 0) & (place <= lengths[categories[:, :1].clamp(min=0)])
            lit = attending.map(text, named.float(), z0.shape[-1])
        error = (output - velocity).square()
        # at low noise the velocity is mostly scanner noise, which cannot be learnt
        balance = torch.clamp(5 * (1 - a) / a, max=1.0)
        share = objective.mean_error(balance * error, objective.weights(keep, items))
        inside = ((1 - keep) * error).sum() / ((1 - keep).sum() * z0.shape[1])
        # what covers the silhouettes of several items is no item's own
        alone = (~dropped & (used.sum(1) == 1)).float()
        attention = (alone * attention_loss(lit, items[:, 0])).sum() / alone.sum().clamp(min=1)
        return {
            "loss": 4 * share.mean() + ATTENDED * attention,
            "inside": inside.detach(),
            "attention": attention.detach(),
        }

    def on_save(average: Denoiser, done: int) -> None:
        # the tokenizer in use would write down how it padded last
        fresh = architectures.build_tokenizer()
        architectures.save_diffusion(
            *(out, average.unet, autoencoder, average.text_encoder, fresh, scheduler), attitudes
        )

    plan = Plan(steps=steps, rate=rate, seed=seed)
    train(model, draw, step, plan, run, on_save, workers)  # type: ignore[arg-type]
