"""Fine-tuning on a made-up dataset, with models of other proportions than the embedded ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel
from typer.testing import CliRunner

from xsyn_core import boxes
from xsyn_core.categories import CATALOGS
from xsyn_core.cli.commands import app
from xsyn_core.curation.coco import PROVENANCE
from xsyn_core.curation.readers import read_dataset
from xsyn_core.errors import XsynError
from xsyn_core.frames import window_around
from xsyn_core.inpainting import Condition, Diffusion, masked_images
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import Annotation, make_scan
from xsyn_core.synthesis import Synthesizer
from xsyn_core.training import architectures, finetuning, objective
from xsyn_core.training.finetuning_data import held_out, select, sources
from xsyn_core.training.finetuning_frames import cache_frames, cuts, mirrored
from xsyn_core.training.finetuning_recipe import Recipe, choose_trainable, learn_words
from xsyn_core.training.objective import Denoiser
from xsyn_core.weights import load_models

ROOT = Path(__file__).parents[2]
NAMES = ("Knife", "Gun", "slingshot")
SIZE = (80, 96)
# Scan by scan: (category, box). The last one is smaller than any catalogue keeps.
OBJECTS = (
    (("Knife", (20, 20, 50, 40)), ("Gun", (40, 42, 58, 53))),
    (("Gun", (10, 40, 50, 70)),),
    (("slingshot", (60, 10, 90, 30)), ("Knife", (5, 5, 9, 6))),
    (("Knife", (30, 30, 70, 60)),),
)
COLOURS = {"Knife": (40, 60, 200), "Gun": (20, 120, 30), "slingshot": (220, 120, 30)}


def put_dataset(folder: Path, masks: bool = False, objects=OBJECTS) -> Path:
    """Scans of flat colours with COCO annotations; masks are the left halves of the boxes."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, own in enumerate(objects, start=1):
        pixels = np.full((*SIZE, 3), 250 - number, np.uint8)
        for name, (x1, y1, x2, y2) in own:
            pixels[y1:y2, x1:x2] = COLOURS[name]
            middle = (x1 + x2) // 2
            polygon = [[x1, y1, middle, y1, middle, y2, x1, y2]] if masks else []
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": NAMES.index(name) + 1,
                    "bbox": boxes.to_xywh((x1, y1, x2, y2)),
                    "segmentation": polygon,
                }
            )
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        images.append(
            {"id": number, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]}
        )
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES, start=1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A small model in full-size proportions: p = 1, c = 4, GLIGEN's slots, epsilon."""
    folder = tmp_path_factory.mktemp("base") / "gligen"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = architectures.build_tokenizer()
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=9,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(32, 64),
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=8,
            attention_type="gated",
        )
        for name, parameter in unet.named_parameters():
            if name.endswith(("alpha_attn", "alpha_dense")):
                torch.nn.init.constant_(parameter, 0.7)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 16, 16),
            norm_num_groups=4,
            latent_channels=4,
            sample_size=64,
        )
        ends = {name: tokenizer.eos_token_id for name in ("eos_token_id", "pad_token_id")}
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
                bos_token_id=tokenizer.bos_token_id,
                **ends,
            )
        )
        scheduler = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        architectures.save_diffusion(folder, unet, vae, text, tokenizer, scheduler)
    return folder


@pytest.fixture(scope="module")
def diffusion(base) -> Diffusion:
    return load_models(base, device="cpu").diffusion


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return put_dataset(tmp_path_factory.mktemp("data") / "bags")


def tune(data: Path, base: Path, run: Path, **options) -> Path:
    """Fine-tune briefly; gives the folder of the model."""
    settings = {
        "generation_steps": 0, "inpainting_steps": 0, "batch": 2, "rate": 1e-2,
        "held_out_share": 0.25, "sheet": 0, "mirrors": 1, "device": "cpu",
    }  # fmt: skip
    finetuning.main(data=data, base=str(base), run=run, **{**settings, **options})
    return run / "model"


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    parts = {
        "unet": UNet2DConditionModel.from_pretrained(folder / "unet"),
        "vae": AutoencoderKL.from_pretrained(folder / "vae"),
        "text_encoder": CLIPTextModel.from_pretrained(folder / "text_encoder"),
    }
    return {
        f"{part}.{name}": value
        for part, model in parts.items()
        for name, value in model.state_dict().items()
    }


def changed(before: Path, after: Path) -> set[str]:
    old, new = tensors(before), tensors(after)
    assert old.keys() == new.keys()
    return {
        name
        for name in old
        if old[name].shape != new[name].shape or not torch.equal(old[name], new[name])
    }


def test_runs_that_were_killed_end_as_an_uninterrupted_one(base, dataset, tmp_path, monkeypatch):
    stages = {"generation_steps": 3, "inpainting_steps": 4, "save_every": 0.0, "ema": 0.5}
    whole = tune(dataset, base, tmp_path / "whole", **stages)
    real = objective.drops
    # the second step of the first stage, then the second of the other
    for survived in (1, 3):
        left = [survived]

        def drops(count, rng, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(count, rng)

        monkeypatch.setattr(objective, "drops", drops)
        with pytest.raises(KeyboardInterrupt):
            tune(dataset, base, tmp_path / "broken", **stages)
    monkeypatch.setattr(objective, "drops", real)
    broken = tune(dataset, base, tmp_path / "broken", **stages)
    assert changed(base, whole)
    assert not changed(whole, broken)
    logs = [(tmp_path / run / "inpainting" / "loss.csv").read_text() for run in ("whole", "broken")]
    assert logs[0].splitlines()[-1] == "4," + logs[0].splitlines()[-1].partition(",")[2]
    assert [p.name for p in (tmp_path / "broken" / "inpainting").glob("*.pt")] == ["checkpoint.pt"]


def test_the_generation_stage_trains_fusers_and_position_net_alone(base, dataset, tmp_path):
    names = changed(base, tune(dataset, base, tmp_path, generation_steps=3))
    assert all(".fuser." in n or n.startswith("unet.position_net.") for n in names)
    assert any(".fuser." in n for n in names)
    assert any(n.startswith("unet.position_net.") for n in names)


def test_the_inpainting_stage_trains_the_first_convolution_too(base, dataset, tmp_path):
    names = changed(base, tune(dataset, base, tmp_path, inpainting_steps=3))
    others = {n for n in names if ".fuser." not in n and not n.startswith("unet.position_net.")}
    assert others == {"unet.conv_in.weight", "unet.conv_in.bias"}


def test_all_trains_unet_and_text_encoder_but_never_the_autoencoder(base, dataset, tmp_path):
    model = tune(
        dataset, base, tmp_path, inpainting_steps=3, trainable="all", category=["knife", "gun"]
    )
    names = changed(base, model)
    assert {n.partition(".")[0] for n in names} == {"unet", "text_encoder"}
    for part in ("unet.conv_out.weight", "unet.down_blocks.0.resnets.0.conv1.weight"):
        assert part in names


def test_frozen_weights_are_neither_saved_nor_copied(base, dataset, tmp_path):
    tune(dataset, base, tmp_path, inpainting_steps=1, ema=0.9)
    state = torch.load(tmp_path / "inpainting" / "checkpoint.pt", weights_only=True)
    for part in ("model", "average"):
        assert state[part]
        assert all(
            ".fuser." in n or n.startswith(("unet.position_net.", "unet.conv_in."))
            for n in state[part]
        )


def test_checkpointing_changes_memory_not_gradients(diffusion, dataset, tmp_path):
    frames = frames_of(diffusion, dataset, tmp_path)
    recipe = recipe_of(diffusion, frames, "inpainting")
    gradients = []
    for checkpointing in (False, True):
        again = load_models(diffusion.name, device="cpu").diffusion
        model = Denoiser(again.unet, again.text_encoder)
        choose_trainable(model, "grounding", "inpainting")
        model.train()
        if checkpointing:
            model.unet.enable_gradient_checkpointing()
        batch = frames.batch(np.arange(2))
        recipe.loss(model, batch, np.random.default_rng(0), np.zeros(2, bool)).backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.allclose(plain, recomputed, atol=1e-6)


def frames_of(diffusion, dataset, folder, mode="window", mirrors=1):
    selection = select(read_dataset(dataset))
    return cache_frames(selection, {}, folder / "frames", mode, mirrors, diffusion, 0)


def recipe_of(diffusion, frames, stage) -> Recipe:
    scheduler = DDIMScheduler.from_config(diffusion.scheduler)
    return Recipe(
        stage,
        frames.names,
        diffusion.tokenizer,
        scheduler.alphas_cumprod,
        scheduler.config.prediction_type,
    )


def test_the_model_is_told_what_the_page_would_tell_it(diffusion, dataset, tmp_path):
    frames = frames_of(diffusion, dataset, tmp_path)
    recipe = recipe_of(diffusion, frames, "generation")
    batch = frames.batch(np.arange(len(frames)))
    rows = [[frames.names[k] for k in row[row >= 0].tolist()] for row in batch.categories]
    assert max(map(len, rows)) == 2
    with torch.no_grad():
        text, told = recipe.conditions(diffusion.text_encoder, batch, np.zeros(len(rows), bool))
    expected = diffusion.grounding_tokens(
        [
            Condition(
                ", ".join(map(str.lower, row)),
                tuple(map(str.lower, row)),
                tuple(map(tuple, batch.boxes[r, : len(row)].tolist())),
            )
            for r, row in enumerate(rows)
        ]
    )
    prompts = [", ".join(map(str.lower, row)) for row in rows]
    assert torch.allclose(text, diffusion.text_states(prompts), atol=1e-5)
    assert told.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(told[name], value, atol=1e-5), name


def test_text_and_grounding_are_dropped_together(diffusion, dataset, tmp_path):
    frames = frames_of(diffusion, dataset, tmp_path)
    recipe = recipe_of(diffusion, frames, "inpainting")
    batch = frames.batch(np.arange(2))
    with torch.no_grad():
        text, told = recipe.conditions(diffusion.text_encoder, batch, np.array([True, False]))
        tokens = diffusion.unet.position_net(**told)
        unused = diffusion.grounding_tokens([Condition("gun", ("gun",), ((0.1, 0.1, 0.9, 0.9),))])
        # as the unconditional half of `denoise`
        unused["masks"][:] = 0
        nothing = diffusion.unet.position_net(**unused)
    empty = diffusion.text_states([""])[0]
    assert torch.allclose(text[0], empty, atol=1e-5) and not torch.allclose(text[1], empty)
    assert torch.allclose(tokens[0], nothing[0], atol=1e-5)
    assert not torch.allclose(tokens[1], nothing[0], atol=1e-5)
    assert objective.drops(100_000, np.random.default_rng(0)).mean() == pytest.approx(0.1, abs=0.01)


def test_generation_sees_neither_the_image_nor_a_mask(diffusion, dataset, tmp_path):
    frames = frames_of(diffusion, dataset, tmp_path)
    batch = frames.batch(np.arange(2))
    seen = {}
    model = Denoiser(diffusion.unet, diffusion.text_encoder)
    for stage in finetuning.STAGES:
        hook = diffusion.unet.register_forward_pre_hook(
            lambda _, args, stage=stage: seen.update({stage: args[0]})
        )
        with torch.no_grad():
            recipe_of(diffusion, frames, stage).loss(
                model, batch, np.random.default_rng(0), np.zeros(2, bool)
            )
        hook.remove()
    assert not seen["generation"][:, 4:].any()
    assert torch.equal(seen["inpainting"][:, 8:], batch.keep)
    assert torch.allclose(seen["inpainting"][:, 4:8], batch.masked * batch.keep)
    assert torch.equal(seen["inpainting"][:, :4], seen["generation"][:, :4])


def test_frames_are_cut_as_the_page_cuts_them(diffusion, dataset, tmp_path):
    frames = frames_of(diffusion, dataset, tmp_path)
    scan = read_dataset(dataset).scan(0)
    box = scan.annotations[0].box
    frame = window_around(box, scan.size, diffusion.side)
    x1, y1, x2, y2 = frame.cells(box, diffusion.factor)
    batch = frames.batch(np.arange(1))
    assert frame.size == (64, 64) and batch.clean.shape == (1, 4, 8, 8)
    assert batch.boxes[0, 0].tolist() == pytest.approx(frame.unit(box))
    assert not batch.keep[0, 0, y1:y2, x1:x2].any()
    pixels = torch.from_numpy(frame.cut(scan.pixels)).permute(2, 0, 1)[None] / 127.5 - 1
    assert torch.allclose(batch.clean, diffusion.encode(pixels), atol=1e-2)
    masked = diffusion.encode(masked_images(pixels, batch.keep))
    assert torch.allclose(batch.masked, masked, atol=1e-2)


def test_items_of_one_window_are_sometimes_repainted_together(diffusion):
    objects = [Annotation("Knife", (20, 20, 50, 40)), Annotation("Gun", (25, 45, 45, 55))]
    drawn = [
        next(cuts(SIZE, objects, "window", diffusion, np.random.default_rng(k))) for k in range(60)
    ]
    for cut in drawn:
        assert cut.names == ("Knife", "Gun") and cut.repainted[0]
        x1, y1, x2, y2 = cut.frame.cells((25, 45, 45, 55), diffusion.factor)
        # the cells that the other one alone covers
        own = cut.frame.cells((20, 20, 50, 40), diffusion.factor)
        assert cut.keep[max(y1, own[3]) : y2, x1:x2].any() != cut.repainted[1]
    assert 10 < sum(cut.repainted[1] for cut in drawn) < 40


def test_whole_frames_come_in_the_sizes_of_their_scans(diffusion, tmp_path):
    data = put_dataset(tmp_path / "bags", objects=OBJECTS[:2])
    tall = np.rot90(np.asarray(Image.open(data / "images" / "2.png")))
    document = json.loads((data / "annotations.json").read_text())
    Image.fromarray(np.ascontiguousarray(tall)).save(data / "images" / "2.png")
    document["images"][1].update(height=SIZE[1], width=SIZE[0])
    (data / "annotations.json").write_text(json.dumps(document))
    frames = frames_of(diffusion, data, tmp_path, "whole")
    assert frames.sizes.tolist() == [[8, 8], [8, 8]] or sorted(frames.sizes.tolist()) == [
        [7, 8],
        [8, 7],
    ]
    groups = frames.groups(np.arange(len(frames)))
    assert sorted(np.concatenate(groups)) == [0, 1]
    for group in groups:
        assert tuple(frames.batch(group).clean.shape[-2:]) == tuple(frames.sizes[group[0]])


@pytest.mark.parametrize("number", range(4))
def test_mirrored_boxes_stay_on_their_items(number):
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[20:40, 10:60] = 255
    turned, (known,) = mirrored(pixels, [Annotation("Knife", (10, 20, 60, 40))], number)
    assert boxes.of_mask(turned[..., 0] > 0) == known.box
    assert (known.box != (10, 20, 60, 40)) == (number > 0)


def test_boxes_are_filtered_by_their_share_of_the_image(dataset):
    read = read_dataset(dataset)
    assert sorted(o.category for own in select(read).objects.values() for o in own) == [
        "Gun", "Gun", "Knife", "Knife", "slingshot",
    ]  # fmt: skip
    # 4 x 1 of 80 x 96 pixels
    both = select(read, min_area=4 / 7680).objects[2]
    assert [o.category for o in both] == ["slingshot", "Knife"]
    assert len(select(read, min_area=5 / 7680).objects[2]) == 1
    assert select(read, ["SLINGSHOT"]).names == ("slingshot",)


def test_no_scan_is_on_both_sides(base, dataset, tmp_path):
    data = shutil.copytree(dataset, tmp_path / "bags")
    document = json.loads((data / "annotations.json").read_text())
    # every scan once more under another name
    for image in list(document["images"]):
        twin = {**image, "id": image["id"] + 100, "file_name": f"twin{image['file_name']}"}
        shutil.copy(data / "images" / image["file_name"], data / "images" / twin["file_name"])
        document["images"].append(twin)
        document["annotations"] += [
            {**a, "id": a["id"] + 100, "image_id": twin["id"]}
            for a in document["annotations"]
            if a["image_id"] == image["id"]
        ]
    (data / "annotations.json").write_text(json.dumps(document))
    diffusion = load_models(base, device="cpu").diffusion
    frames = frames_of(diffusion, data, tmp_path, mirrors=2)
    aside = held_out(frames.sources, 0.5, 3)
    run = finetuning._Run(diffusion, frames, aside, 2)
    inside = np.concatenate(run.groups)
    assert len(set(frames.sources)) == 4 and len(aside) == 2
    assert not set(frames.sources[inside]) & set(frames.sources[run.judged])
    outside = np.isin(frames.sources, list(aside)) & (frames.mirrors == 0)
    assert set(run.judged) == set(np.flatnonzero(outside))
    assert len(inside) == (~np.isin(frames.sources, list(aside))).sum()


def test_the_split_depends_on_the_seed_but_not_on_the_order():
    scans = [f"{k:064x}" for k in range(40)]
    assert held_out(scans, 0.1, 0) == held_out(scans[::-1] * 2, 0.1, 0)
    assert len(held_out(scans, 0.1, 0)) == 4
    assert held_out(scans, 0.1, 0) != held_out(scans, 0.1, 1)
    assert held_out(scans, 0, 0) == frozenset()


def test_painted_scans_go_with_their_sources(tmp_path):
    (tmp_path / "annotations").mkdir()
    line = {"file_name": "images/a-000001.png", "source": {"name": "a.png", "sha256": "ab"}}
    (tmp_path / PROVENANCE).write_text(json.dumps(line) + "\n")
    for path in (tmp_path, tmp_path / "annotations" / "instances.json"):
        assert sources(path) == {"a-000001.png": "ab"}
    (tmp_path / PROVENANCE).write_text("{}\n")
    with pytest.raises(XsynError, match="damaged"):
        sources(tmp_path)


def test_new_words_begin_as_the_mean_of_their_pieces(base, tmp_path):
    diffusion = load_models(base, device="cpu").diffusion
    tokenizer, text = diffusion.tokenizer, diffusion.text_encoder
    # as old configurations have it: the end is then found as the highest number
    text.config.eos_token_id = text.eos_token_id = 2
    pieces = tokenizer("slingshot", add_special_tokens=False).input_ids
    mean = text.get_input_embeddings().weight[pieces].mean(0)
    before = diffusion.phrase_embeddings(["knife"])
    learn_words(tokenizer, text, ["Knife", "Slingshot"])
    assert len(pieces) > 1
    (token,) = tokenizer("slingshot", add_special_tokens=False).input_ids
    assert torch.equal(text.get_input_embeddings().weight[token], mean)
    assert torch.equal(diffusion.phrase_embeddings(["knife"]), before)
    told = diffusion.phrase_embeddings(["slingshot", "slingshot, knife"])
    assert not torch.allclose(told[0], told[1])
    assert diffusion.columns("knife, slingshot", [(0, 5), (7, 16)]) == [[1], [3]]
    size = len(tokenizer)
    learn_words(tokenizer, text, ["Slingshot"])
    assert len(tokenizer) == size
    parts = (diffusion.unet, diffusion.vae, text, tokenizer)
    scheduler = DDIMScheduler.from_config(diffusion.scheduler)
    architectures.save_diffusion(tmp_path / "model", *parts, scheduler)
    again = load_models(tmp_path / "model", device="cpu").diffusion
    assert torch.allclose(again.phrase_embeddings(["slingshot"]), told[:1], atol=1e-2)
    assert again.columns("knife, slingshot", [(0, 5), (7, 16)]) == [[1], [3]]


def test_the_saved_model_loads_and_paints(base, dataset, tmp_path):
    folder = tune(
        dataset, base, tmp_path, generation_steps=1, inpainting_steps=1, trainable="all", sheet=2
    )
    models = load_models(folder, device="cpu")
    assert (models.diffusion.patch, models.diffusion.channels, models.diffusion.slots) == (1, 4, 30)
    pixels = np.full((*SIZE, 3), 200, np.uint8)
    request = Request((Grounding("Knife", (30, 30, 60, 50)),), steps=2, occlude=False)
    *_, last = Synthesizer(models).paint(make_scan(pixels, "bag.png"), request)
    outside = np.ones(SIZE, bool)
    outside[20:60, 20:70] = False
    assert (last.result.clear != pixels).any()
    assert np.array_equal(last.result.clear[outside], pixels[outside])
    for stage in finetuning.STAGES:
        (sheet,) = (tmp_path / stage).glob("sheet-*.png")
        with Image.open(sheet) as image:
            assert image.height == 128 and image.width % 64 == 0


def test_the_held_out_loss_falls_on_scans_like_the_learnt_ones(base, tmp_path, capsys):
    objects = tuple((("Gun", (20, 20, 60 + k % 2, 50)),) for k in range(8))
    data = put_dataset(tmp_path / "bags", objects=objects)
    tune(
        data, base, tmp_path / "run", inpainting_steps=60, trainable="all", batch=4, rate=1e-2,
        min_snr=5.0,
    )  # fmt: skip
    rows = (tmp_path / "run" / "inpainting" / "held_out.csv").read_text().splitlines()
    steps = [int(row.split(",")[0]) for row in rows]
    losses = [float(row.split("=")[1]) for row in rows]
    assert steps == [0, 60]
    assert losses[1] < 0.6 * losses[0]
    assert f"step 60: held-out loss {losses[1]:.5f}" in capsys.readouterr().err


def test_min_snr_weights_follow_their_definition():
    signal = torch.tensor([0.0, 0.01, 0.5, 0.9, 0.999])
    snr = signal / (1 - signal)
    clamped = torch.clamp(snr, max=5)
    velocity = objective.min_snr(signal, 5.0, "v_prediction")
    assert torch.allclose(velocity, clamped / (snr + 1), atol=1e-6)
    epsilon = objective.min_snr(signal, 5.0, "epsilon")
    assert epsilon[0] == 1 and torch.allclose(epsilon[1:], (clamped / snr)[1:])


MISTAKES = {
    "no dataset": ((), ("--data", "--embedded")),
    "no such dataset": (("--data", "none"), ("none", "Check the path")),
    "unknown category": (("--data", "bags", "--category", "banana"), ("banana", "Knife")),
    "boxes too small": (
        ("--data", "bags", "--min-area", "0.9"),
        ("nothing to learn", "--min-area"),
    ),
    "all held out": (("--data", "bags", "--held-out", "0.9"), ("--held-out 0",)),
    "held-out share of 2": (("--data", "bags", "--held-out", "2"), ("below 1",)),
    "no steps": (
        ("--data", "bags", "--generation-steps", "0", "--inpainting-steps", "0"),
        ("0 steps",),
    ),
    "no boxes": (("--data", "empty"), ("no boxes",)),
    "no images": (("--data", "lost"), ("not one labelled image", "not there")),
    "a file for a folder": (("--data", "bags", "--run", "file/run"), ("cannot be written",)),
    "folder of others": (("--data", "bags", "--run", "bags"), ("other things",)),
    "out over others": (("--data", "bags", "--out", "bags"), ("other things", "--out")),
    "out over the base": (("--data", "bags", "--base", "base", "--out", "base"), ("base itself",)),
    "no such model": (("--data", "bags", "--base", "./none"), ("none",)),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_one_message(name, dataset, base, tmp_path, monkeypatch):
    options, words = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(dataset, tmp_path / "bags")
    shutil.copytree(base, tmp_path / "base")
    put_dataset(tmp_path / "empty", objects=((), ()))
    shutil.rmtree(put_dataset(tmp_path / "lost") / "images")
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, ["train", "denoiser", "--device", "cpu", *options])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output, result.output


def test_another_setting_does_not_go_on_with_a_run(base, dataset, tmp_path):
    tune(dataset, base, tmp_path, inpainting_steps=1)
    with pytest.raises(XsynError, match="batch 2, not 3"):
        tune(dataset, base, tmp_path, inpainting_steps=1, batch=3)


def test_what_no_catalogue_has_is_told(base, dataset, tmp_path, capsys):
    tune(dataset, base, tmp_path, inpainting_steps=1)
    told = capsys.readouterr().err
    assert "so the page does not offer it: slingshot" in told
    assert all("slingshot" not in c.names for c in CATALOGS.values())
