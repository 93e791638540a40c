"""What fine-tuning cuts, tells and asks of the model, and which scans it learns from."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from made_bags import OBJECTS, SIZE, put_dataset
from PIL import Image

from xsyn_core import boxes
from xsyn_core.curation.coco import PROVENANCE
from xsyn_core.curation.readers import read_dataset
from xsyn_core.diffusion import Condition
from xsyn_core.errors import XsynError
from xsyn_core.frames import window_around
from xsyn_core.inpainting import masked_images
from xsyn_core.scan import Annotation
from xsyn_core.training import architectures, finetuning, objective
from xsyn_core.training.finetuning_data import held_out, learnt_catalog, select, sources
from xsyn_core.training.finetuning_frames import cache_frames, cuts, mirrored
from xsyn_core.training.finetuning_recipe import Recipe, choose_trainable, learn_words
from xsyn_core.training.objective import Denoiser
from xsyn_core.weights import load_models


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


def test_scans_that_could_not_be_read_are_looked_at_again(diffusion, dataset, tmp_path):
    dataset = shutil.copytree(dataset, tmp_path / "bags")
    whole = {path: path.read_bytes() for path in dataset.rglob("*.png")}
    wanted = len(frames_of(diffusion, dataset, tmp_path / "wanted"))
    for path, content in whole.items():
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(XsynError, match="Not one scan"):
        frames_of(diffusion, dataset, tmp_path)
    for path, content in whole.items():
        path.write_bytes(content)
    assert len(frames_of(diffusion, dataset, tmp_path)) == wanted


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


@pytest.mark.parametrize("greyed", [False, True])
def test_frames_are_cut_as_the_page_cuts_them(diffusion, dataset, tmp_path, greyed):
    diffusion = load_models(diffusion.name, device="cpu").diffusion
    assert not diffusion.greyed
    if greyed:
        diffusion.unet.register_to_config(greyed=True)
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
    seen = masked_images(pixels, batch.keep) if greyed else pixels
    masked = diffusion.encode(seen) * batch.keep
    assert torch.allclose(batch.masked, masked, atol=1e-2)
    assert torch.equal(batch.masked, batch.clean * batch.keep) != greyed


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


def test_items_may_be_tiny(dataset, tmp_path):
    data = shutil.copytree(dataset, tmp_path / "bags")
    file = data / "annotations.json"
    document = json.loads(file.read_text())
    for image in document["images"]:
        image.update(height=30_000, width=40_000)
    file.write_text(json.dumps(document))
    own = learnt_catalog(select(read_dataset(data), min_area=0))
    assert own.min_area_ratio == 0
    # the largest of 1200 square pixels
    assert own.max_area_ratio == pytest.approx(1200 / 30_000 / 40_000, rel=0.01)


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


def test_min_snr_weights_follow_their_definition():
    signal = torch.tensor([0.0, 0.01, 0.5, 0.9, 0.999])
    snr = signal / (1 - signal)
    clamped = torch.clamp(snr, max=5)
    velocity = objective.min_snr(signal, 5.0, "v_prediction")
    assert torch.allclose(velocity, clamped / (snr + 1), atol=1e-6)
    epsilon = objective.min_snr(signal, 5.0, "epsilon")
    assert epsilon[0] == 1 and torch.allclose(epsilon[1:], (clamped / snr)[1:])
