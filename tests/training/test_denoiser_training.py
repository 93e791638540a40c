"""Training of the embedded denoiser, on two scenes and tiny random models."""

import json
import shutil
from contextlib import nullcontext
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

from xsyn_core import grounding
from xsyn_core.attitudes import COMPASS, FILE, LEVELS, MIRRORED, Attitudes, hint, tight
from xsyn_core.categories import phrase
from xsyn_core.concealment import to_pixels, to_tensor
from xsyn_core.errors import XsynError
from xsyn_core.inpainting import Step
from xsyn_core.training import architectures, denoiser, denoiser_batches, denoiser_data, objective
from xsyn_core.training.architectures import FINISHING, SHAPED
from xsyn_core.training.data import NAMES, SIDE, Shard
from xsyn_core.training.loop import Plan
from xsyn_core.weight_sources import ASSETS
from xsyn_core.weights import load_models


def train(rendered, folder, steps, **options):
    """Train for these steps, the first of painting, in a folder of everything that is written."""
    denoiser.main(
        out=folder / "out",
        data=rendered,
        latents=folder / "latents",
        run=folder / "run",
        steps=steps,
        batch=4,
        shard_count=1,
        looks=1,
        seed=5,
        device="cpu",
        **options,
    )


@pytest.fixture(scope="module")
def trained(rendered, tiny_files, tmp_path_factory):
    """The folder of two steps' training from nothing; the latents that they learnt from."""
    folder = tmp_path_factory.mktemp("denoiser")
    for steps in (1, 2):
        train(rendered, folder, steps, vae=tiny_files[0] / "vae")
    return folder


@pytest.fixture(scope="module")
def latents(trained):
    with np.load(trained / "latents" / "00000.npz") as file:
        return denoiser_data.Latents(**{"coarse": file["clean"], **file})


def test_two_runs_of_one_step_make_two_steps(trained):
    rows = (trained / "run" / "loss.csv").read_text().split()
    assert [int(row.split(",")[0]) for row in rows] == [1, 2]
    for row in rows:
        losses = dict(cell.split("=") for cell in row.split(",")[1:])
        assert set(losses) == {"loss", "inside", "attention"}
        assert all(np.isfinite(float(value)) for value in losses.values())


def windows_to_finish(rendered):
    """Three rows of `denoiser_data.window`: themselves, their pictures and boxes, and how they are
    described: in words and by shades."""
    shard = Shard.open(rendered / "seed5" / "00000", 0)
    rows = [
        denoiser_data.window(shard, int(k), np.random.default_rng(k), SIDE)
        for k in np.flatnonzero(~shard.whole)[:3]
    ]
    images, boxes, shades = (
        np.stack([row[name] for row in rows]) for name in ("clean", "boxes", "shades")
    )
    described = [
        ([NAMES[k] for k in row["categories"] if k >= 0], [a for a in row["attitudes"] if a])
        for row in rows
    ]
    return rows, images, boxes, (described, shades)


def test_windows_to_finish_show_in_their_boxes_what_a_painter_of_half_the_side_leaves(
    rendered, tiny_models, monkeypatch
):
    _, images, boxes, described = windows_to_finish(rendered)
    assert images.shape == (3, SIDE, SIDE, 3)
    model, device = tiny_models.diffusion, torch.device("cpu")
    monkeypatch.setattr(denoiser_data, "autocast", lambda _: nullcontext())

    def coarsened(errors):
        monkeypatch.setattr(denoiser_data, "ERRS", errors)
        rng = np.random.default_rng(0)
        return denoiser_data.coarsened(model.vae, images, boxes, *described, rng, device)

    exact, wrong = coarsened(0.0), coarsened(5.0)
    for image, some, found, other in zip(images, boxes, exact, wrong, strict=True):
        small = image.reshape(128, 2, 128, 2, 3).astype(np.float64).mean((1, 3)).astype(np.uint8)
        decoded = model.decode(model.encode(to_tensor(small)[None]).half().float())[0]
        large = cv2.resize(to_pixels(decoded), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        for y in range(SIDE):
            for x in range(SIDE):
                cell = np.array([x // 8, y // 8]) / 32
                inside = any((b[:2] < cell + 1 / 32).all() and (cell < b[2:]).all() for b in some)
                if inside:
                    assert np.abs(found[y, x] - large[y, x].clip(0, 255)).max() < 2
                else:
                    assert (found[y, x] == image[y, x]).all()
                    assert (other[y, x] == image[y, x]).all()
        assert (other != found).any()


def test_what_a_painter_leaves_is_its_own_drawing_of_the_items(rendered, tiny_models, monkeypatch):
    rows, images, boxes, described = windows_to_finish(rendered)
    model, asked = tiny_models.diffusion, {}
    monkeypatch.setattr(denoiser_data, "autocast", lambda _: nullcontext())
    monkeypatch.setattr(denoiser_data, "ERRS", 0.0)

    def denoised(painter, pictures, masks, conditions, **options):
        asked.update(options, masks=masks, conditions=conditions)
        yield None
        yield Step(options["steps"], painter.encode(pictures))

    monkeypatch.setattr(denoiser_data, "denoise", denoised)
    arguments = *described, np.random.default_rng(0), torch.device("cpu")
    exact = denoiser_data.coarsened(model.vae, images, boxes, *arguments)
    skips = set()
    for seed in range(40):
        arguments = *described, np.random.default_rng(seed), torch.device("cpu")
        drawn = denoiser_data.coarsened(model.vae, images, boxes, *arguments, model)
        # rounding of the cache apart
        assert np.abs(drawn.astype(int) - exact).max() <= 2
        skips.add(asked["skip"])
    assert skips == {4, 5, 6, 7, 8, 9} and asked["steps"] == 10
    for (names, told), row, mask, condition in zip(
        described[0], rows, asked["masks"], asked["conditions"], strict=True
    ):
        assert condition.phrases == grounding.phrases(names, told)
        assert condition.prompt == grounding.prompt(names, told)
        assert np.allclose(condition.boxes, row["boxes"][: len(names)])
        keep = denoiser_data.keep_mask(row["boxes"], 16)
        assert np.array_equal(mask.numpy()[0] == 1, keep)
        drawn = hint(row["shades"] / np.float32(255), (model.channels, 16, 16))
        assert np.allclose(condition.hint[:, ~keep], drawn[:, ~keep])
        assert (drawn[:, ~keep] > 0).any() and not condition.hint[:, keep].any()


def test_the_noise_that_leads_from_coarse_latents_to_clean_ones():
    noise, coarse, clean = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    signal = torch.tensor(0.4)
    found = objective.leading(noise, coarse, clean, signal)
    begun = objective.noised(clean, found, signal)
    torch.testing.assert_close(begun, 0.4**0.5 * coarse + 0.6**0.5 * noise)
    assert torch.equal(objective.leading(noise, clean, clean, signal), noise)


def train_from(files, rendered, folder, steps=1, **options):
    """Train on from a diffusers folder; the weights that are written, by name."""
    train(rendered, folder, steps, **{"vae": files / "vae", "base": files, **options})
    config = json.loads((folder / "out" / "unet" / "config.json").read_text())
    assert config["finishing"] == FINISHING and config["greyed"] is True
    assert config["shaped"] == SHAPED
    return weights(folder / "out")


def weights(folder):
    """Those of the UNet and the text encoder of a diffusers folder."""
    files = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
    return {f"{file} {name}": v for file in files for name, v in load_file(folder / file).items()}


def other_words(folder):
    shutil.rmtree(folder / "text_encoder")
    other = CLIPTextConfig(vocab_size=9, hidden_size=8, num_attention_heads=1, num_hidden_layers=1)
    CLIPTextModel(other).save_pretrained(folder / "text_encoder")


def other_latents(folder):
    shutil.rmtree(folder / "unet")
    shutil.rmtree(folder / "vae")
    with torch.random.fork_rng():
        unet = architectures.build_unet()
        made = {**unet.config, "in_channels": 9, "out_channels": 4}
        type(unet).from_config(made).save_pretrained(folder / "unet")
        vae = AutoencoderKL(latent_channels=4, norm_num_groups=8, block_out_channels=(8,))
    vae.save_pretrained(folder / "vae")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (other_words, "9 tokens where this recipe has"),
        (other_latents, "latents of 4 channels, the autoencoder's have 16"),
        (shutil.rmtree, "has no unet, no vae"),
    ],
)
def test_weights_that_it_cannot_go_on_from_are_refused(spoil, told, tiny_files, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_files[0], other)
    spoil(other)
    with pytest.raises(XsynError, match=told):
        train_from(tiny_files[0], tmp_path / "data", tmp_path, base=other)
    # before any picture is rendered or encoded
    assert not {path.name for path in tmp_path.iterdir()} - {"other"}


def test_an_autoencoder_that_cannot_be_read_is_refused(tiny_files, tmp_path):
    with pytest.raises(XsynError, match=r"has no config\.json\. An autoencoder is the vae folder"):
        train_from(tiny_files[0], tmp_path / "data", tmp_path, vae=tmp_path / "none")
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_files[0] / "vae", damaged)
    (damaged / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(XsynError, match=r"cannot be read .* An autoencoder is the vae folder"):
        train_from(tiny_files[0], tmp_path / "data", tmp_path, vae=damaged)
    assert list(tmp_path.iterdir()) == [damaged]


def test_a_category_of_a_quarter_of_the_windows_is_drawn_half_as_often():
    categories = np.array([3] * 16 + [7] * 4 + [3] * 16 + [0] * 8)
    chances = denoiser_batches.chances(categories)
    assert chances.sum() == pytest.approx(1)
    of = [chances[categories == k].sum() for k in (3, 0, 7)]
    assert of[0] / of[1] == pytest.approx(2) and of[1] / of[2] == pytest.approx(2**0.5)


def seen_alone(latents, row):
    """The density map of a window's only item, if there is one that lies wholly in the window."""
    covered = latents.silhouettes[row] > 127
    inside = not covered[0].any() and not covered[-1].any()
    inside &= not covered[:, 0].any() and not covered[:, -1].any()
    alone = (latents.categories[row] >= 0).sum() == 1
    dense = latents.shades[row] / np.maximum(latents.silhouettes[row], 1) * 2 - 1
    density = np.rint(1 + dense.clip(0, 1) * (LEVELS - 1)) * covered
    return tight(density.astype(np.uint8)) if alone and inside else None


def test_the_model_is_written_with_the_attitudes_that_it_saw(trained, tiny_files, latents):
    model = load_models(trained / "out", tiny_files[1], "cpu").diffusion
    seen: dict[str, set] = {}
    for row in range(len(latents.boxes)):
        name, told = NAMES[latents.categories[row, 0]], str(latents.attitudes[row, 0])
        drawn = seen_alone(latents, row)
        if drawn is not None and not told.startswith(denoiser.MUDDLED.get(name, ())):
            seen.setdefault(name, set()).add((told, drawn.shape, drawn.tobytes()))
    assert sum(map(len, seen.values())) > len(latents.boxes) / 2
    assert seen == {
        name: {(one.words, one.density.shape, one.density.tobytes()) for one in some}
        for name, some in model.attitudes.known.items()
    }


def test_kinds_that_come_out_badly_are_not_asked_for():
    told = {
        "Knife": ["01 e", "17 nne", "17 s mirrored", "71 w", "1 e", "4 sw", "450 n"],
        "Sprayer": ["0 e", "12 e", "2 s", "2 w mirrored", "21 w", "10 n"],
        "Wrench": ["1 e", "5 n", "6 n", "7 n"],
    }
    pairs = [(name, some) for name, all_of_it in told.items() for some in all_of_it]
    silhouettes = np.zeros((len(pairs), 64, 64), np.uint8)
    silhouettes[:, 20:30, 5:60] = 200
    # one hangs out of its window, one lies beside another item
    silhouettes[-2, 20:30] = 200
    categories = np.array([[NAMES.index(name), -1] for name, _ in pairs])
    categories[-1, 1] = 0
    cached = SimpleNamespace(
        silhouettes=silhouettes,
        shades=silhouettes // 2,
        categories=categories,
        attitudes=np.array([[some] for _, some in pairs]),
    )
    known = denoiser.listed(cached, 0).known
    assert {one.words for one in known["Knife"]} == {"01 e", "71 w", "1 e", "4 sw", "450 n"}
    assert {one.words for one in known["Sprayer"]} == {"0 e", "12 e", "10 n"}
    assert {one.words for one in known["Wrench"]} == {"1 e", "5 n"}
    maps = [one.density for some in known.values() for one in some]
    assert all(one.shape == (10, 55) and (one == 1).all() for one in maps)


def test_the_embedded_model_is_asked_for_every_category_and_for_no_bad_kind():
    known = Attitudes.open(ASSETS / "diffusion" / "tokenizer").known
    assert set(known) == set(NAMES) and min(map(len, known.values())) >= 100
    for name, kinds in denoiser.MUDDLED.items():
        assert not [one for one in known[name] if one.words.startswith(kinds)]


def test_the_tokenizer_is_written_as_it_was_built(trained, tiny_files):
    written, built = (
        (folder / "tokenizer" / "tokenizer.json").read_text()
        for folder in (trained / "out", tiny_files[0])
    )
    assert written == built


def test_windows_show_their_items_density_where_attitudes_are_told(latents):
    cells = latents.clean.shape[-1]
    items = latents.items(np.arange(len(latents.boxes)))
    for row, covered in enumerate(latents.silhouettes):
        keep = denoiser_data.keep_mask(latents.boxes[row], cells)
        assert not latents.hints(row, told=False).any()
        found = latents.hints(row, told=True)
        assert not found[:, keep].any()
        wanted = hint(latents.shades[row] / 255, latents.clean.shape[1:])
        assert np.allclose(found[:, ~keep], wanted[:, ~keep], atol=1e-6)
        shares = covered.reshape(cells, 4, cells, 4).mean((1, 3)) / 255
        assert np.allclose(items[row], shares, atol=1e-6)


def test_windows_are_described_with_their_items_attitudes(rendered, latents):
    shard = Shard.open(rendered / "seed5" / "00000", 0)
    windows = np.flatnonzero(~shard.whole)
    assert len(windows) == len(latents.boxes)
    for row, index in enumerate(windows):
        own = phrase(NAMES[shard.categories[index][0]])
        assert latents.phrases(row, told=False)[0] == own
        kind, point, *mirrored = latents.phrases(row, told=True)[0].removeprefix(own).split()
        assert kind == shard.kinds[index][0] and point in COMPASS and mirrored in ([], [MIRRORED])
        used = (latents.categories[row] >= 0).sum()
        assert len(latents.phrases(row, told=True)) == used
        assert (latents.attitudes[row, used:] == "").all()


def test_where_to_attend_counts_more_where_no_density_map_tells_it(trained, tiny_files, latents):
    opened = load_models(trained / "out", tiny_files[1], "cpu").diffusion
    tokenizer, signal = opened.tokenizer, architectures.build_scheduler().alphas_cumprod
    batches = denoiser_batches.Batches(latents, latents, tokenizer, batch=4)
    draws = (batches(0, np.random.default_rng(seed)) for seed in range(1000))
    drawn = next(
        some
        for some in draws
        if (some["categories"][:, 1:] < 0).all()
        and not some["dropped"].any()
        and 0 < some["told"].sum() < 4
    )
    assert torch.equal(drawn["told"], drawn["hints"].flatten(1).any(1))
    losses = denoiser._Losses(denoiser._speaker(opened), signal, tokenizer)

    def attention(rows):
        return losses(0, {name: values[rows] for name, values in drawn.items()})["attention"].item()

    shares = [1 if told else denoiser.SEARCHED for told in drawn["told"].tolist()]
    alone = [attention([row]) for row in range(4)]
    assert denoiser.SEARCHED > 1 and max(alone) > 1.01 * min(alone)
    assert attention([0, 1, 2, 3]) == pytest.approx(np.average(alone, weights=shares), rel=1e-3)


def test_it_goes_on_from_the_weights_of_its_base(rendered, tiny_files, tmp_path, monkeypatch):
    begun = weights(tiny_files[0])
    learnt = train_from(tiny_files[0], rendered, tmp_path / "learnt")
    assert any(not torch.equal(learnt[name], values) for name, values in begun.items())
    # the base lists none
    assert (tmp_path / "learnt/out/tokenizer" / FILE).exists()
    monkeypatch.setattr(Plan, "rate_at", lambda *_: 0.0)
    kept = train_from(tiny_files[0], rendered, tmp_path / "kept")
    assert all(torch.equal(kept[name], values) for name, values in begun.items())


def test_one_part_in_four_of_the_windows_to_finish_errs_by_chance(
    rendered, tiny_models, tmp_path, monkeypatch
):
    painters = []

    def coarsened(vae, images, boxes, described, shades, rng, where, painter):
        painters.append(painter)
        return images

    monkeypatch.setattr(denoiser_data, "coarsened", coarsened)
    monkeypatch.setattr(denoiser_data, "TOGETHER", 1)
    model = tiny_models.diffusion
    # two copies of one shard
    arguments = model.vae, rendered, tmp_path, 5, 1, 1, 2, 1, torch.device("cpu"), SIDE, model
    count, odd = divmod(len(denoiser_data.cache_latents(*arguments).boxes), 2)
    assert count > 4 and not odd
    # a shard begins one further than the one before, lest its first part is always by chance
    assert painters == [model if (n + k) % 4 else None for n in range(2) for k in range(count)]


def test_every_third_step_is_of_windows_to_finish(trained, latents, tiny_models):
    with np.load(trained / "latents" / "finer" / "00000.npz") as file:
        finer = denoiser_data.Latents(**file)
    tokenizer = tiny_models.diffusion.tokenizer
    batches = denoiser_batches.Batches(latents, finer, tokenizer, batch=4)
    rng = np.random.default_rng(0)
    sides = [batches(k, rng)["clean"].shape[-1] for k in range(6)]
    assert sides == [16, 32, 16, 16, 32, 16]


def test_where_it_repaints_the_unet_sees_hints_under_a_mask_of_its_own():
    noisy, masked, hints = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    keep = torch.ones(2, 1, 8, 8)
    keep[0, :, 2:5, 1:7] = 0
    found = objective.unet_input(noisy, masked, keep, hints, known=0.5)
    for row, y, x in np.ndindex(2, 8, 8):
        inside = row == 0 and 2 <= y < 5 and 1 <= x < 7
        seen = [*noisy[row, :, y, x], *(hints if inside else masked)[row, :, y, x]]
        assert found[row, :, y, x].tolist() == [*seen, 0.5 if inside else 1.0]


def test_items_are_finished_from_little_noise():
    found = np.sort(denoiser_batches.finishing_timesteps(FINISHING, np.random.default_rng(0)))
    # one of each
    assert found.tolist() == list(range(FINISHING))
