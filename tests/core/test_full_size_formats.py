"""Models in the formats of the full-size ones, tiny: original GLIGEN files, diffusers folders."""

import json
import logging
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionGLIGENPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from original_gligen import (
    DictConfig,
    full_size,
    make_autoencoder,
    make_unet,
    original_autoencoder,
    original_text_encoder,
    original_unet,
    save_original,
    text_settings,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from xsyn_core import weight_sources, weights
from xsyn_core.diffusion import Condition
from xsyn_core.errors import XsynError
from xsyn_core.gligen_checkpoint import (
    NEEDED,
    convert_autoencoder,
    convert_unet,
    load_gligen,
)
from xsyn_core.inpainting import denoise
from xsyn_core.training import architectures

CPU = torch.device("cpu")
SETTINGS = {
    "model": {"params": {"image_size": 8, "num_heads": 8}},
    "autoencoder": {"params": {"scale_factor": 0.18215}},
}


def open_gates(unet):
    """Fresh gates are shut: grounding would have no effect."""
    for name, parameter in unet.named_parameters():
        if name.endswith(("alpha_attn", "alpha_dense")):
            torch.nn.init.constant_(parameter, 0.7)
    return unet


@pytest.fixture(scope="module")
def parts():
    """Parts in c = 4 channels, with a tokenizer that fits."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = architectures.build_tokenizer()
        # of values that float16 files keep
        return SimpleNamespace(
            unet=open_gates(make_unet()).half().float(),
            vae=make_autoencoder().half().float(),
            text=CLIPTextModel(text_settings(words=len(tokenizer))).eval().half().float(),
            tokenizer=tokenizer,
            scheduler=DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
        )


def save_folder(path, parts, unet=None):
    architectures.save_diffusion(
        path, unet or parts.unet, parts.vae, parts.text, parts.tokenizer, parts.scheduler
    )
    return path


@pytest.fixture(scope="module")
def folder(parts, tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp("diffusers") / "model", parts)


@pytest.fixture
def home(folder, tmp_path):
    """A folder for original files, with a tokenizer beside them."""
    shutil.copytree(folder / "tokenizer", tmp_path / "tokenizer")
    return tmp_path


@pytest.fixture
def original(parts, folder, home):
    path = home / "whatever.bin"
    save_original(path, parts.unet, parts.vae, parts.text, SETTINGS)
    return path


def load(source):
    return replace(weights.load_diffusion(source, CPU, str(source)), autocast=torch.float32)


def refused(source):
    with pytest.raises(XsynError) as caught:
        weights.load_diffusion(source, CPU, str(source))
    return str(caught.value)


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture(scope="module")
def case():
    """A square image with boxes on cell borders."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    boxes = ((0.25, 0.125, 0.75, 0.5), (0.5, 0.625, 0.875, 0.875))
    mask = torch.ones(1, 1, 8, 8)
    for x1, y1, x2, y2 in boxes:
        mask[..., round(8 * y1) : round(8 * y2), round(8 * x1) : round(8 * x2)] = 0
    return image, mask, Condition("knife, gun", ("knife", "gun"), boxes)


def states(model, case, guidance=7.5, steps=5):
    """The noisy latents after every step, and the start noise."""
    image, mask, condition = case
    found = []
    step = DDIMScheduler.step

    def watched(*arguments):
        result = step(*arguments)
        found.append(result.prev_sample)
        return result

    generator = torch.Generator().manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DDIMScheduler, "step", watched)
        list(
            denoise(
                model,
                image,
                mask,
                [condition],
                steps=steps,
                guidance=guidance,
                sampler="ddim",
                generator=generator,
            )
        )
    return found, torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("guidance", [7.5, 1.0])
def test_our_loop_is_the_pipelines(folder, case, guidance, monkeypatch):
    model = load(folder)
    ours, noise = states(model, case, guidance)
    image, _, condition = case
    pipeline = StableDiffusionGLIGENPipeline(
        vae=model.vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.unet,
        scheduler=DDIMScheduler.from_config(model.scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    # It takes no noise from outside, a sample of the posterior, and images of 8 bits.
    monkeypatch.setattr(torch, "randn_like", lambda _: noise)
    monkeypatch.setattr(
        DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode()
    )
    monkeypatch.setattr(pipeline.image_processor, "preprocess", lambda _: image)
    theirs = []
    pipeline(
        condition.prompt,
        num_inference_steps=len(ours),
        guidance_scale=guidance,
        gligen_phrases=list(condition.phrases),
        gligen_boxes=[list(box) for box in condition.boxes],
        gligen_inpaint_image=Image.new("RGB", (64, 64)),
        gligen_scheduled_sampling_beta=1.0,
        output_type="latent",
        callback=lambda step, timestep, latents: theirs.append(latents.clone()),
    )
    assert len(theirs) == len(ours)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-4)


def test_an_original_file_is_its_folder(parts, folder, original, case):
    one, other = load(original), load(folder)
    for part in ("unet", "vae", "text_encoder"):
        assert same(getattr(one, part), getattr(other, part)), part
    for part, keys in (
        ("unet", "sample_size in_channels out_channels block_out_channels layers_per_block "
         "cross_attention_dim attention_head_dim attention_type norm_num_groups norm_eps"),
        ("vae", "sample_size latent_channels block_out_channels scaling_factor norm_num_groups"),
        ("text_encoder", "vocab_size hidden_size hidden_act num_attention_heads eos_token_id"),
    ):  # fmt: skip
        for key in keys.split():
            found, wanted = (getattr(getattr(m, part).config, key) for m in (one, other))
            assert found == wanted or list(found) == list(wanted), key
    for key in ("num_train_timesteps", "beta_start", "beta_end", "steps_offset", "clip_sample"):
        assert one.scheduler[key] == other.scheduler[key], key
    assert (one.side, one.factor, one.channels) == (64, 8, 4)
    for ours, theirs in zip(states(one, case)[0], states(other, case)[0], strict=True):
        assert torch.equal(ours, theirs)
    assert all(not p.requires_grad for p in one.unet.parameters()) and not one.unet.training


def test_a_folder_as_published_in_2023(folder, home, case):
    """Pickles, with the names that attention and the text model had then."""
    old = home / "published"
    shutil.copytree(folder, old)
    file = old / "unet" / "diffusion_pytorch_model"
    torch.save(load_file(file.with_suffix(".safetensors")), file.with_suffix(".bin"))
    file.with_suffix(".safetensors").unlink()
    file = old / "vae" / "diffusion_pytorch_model"
    names = {
        ".to_q.": ".query.",
        ".to_k.": ".key.",
        ".to_v.": ".value.",
        ".to_out.0.": ".proj_attn.",
    }
    vae = {}
    for name, tensor in load_file(file.with_suffix(".safetensors")).items():
        for new, former in names.items():
            name = name.replace(new, former)
        vae[name] = tensor
    assert any(".proj_attn." in name for name in vae)
    torch.save(vae, file.with_suffix(".bin"))
    file.with_suffix(".safetensors").unlink()
    text = load_file(old / "text_encoder" / "model.safetensors")
    (old / "text_encoder" / "model.safetensors").unlink()
    text = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in text.items()}
    text["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    torch.save(text, old / "text_encoder" / "pytorch_model.bin")
    for ours, theirs in zip(states(load(old), case)[0], states(load(folder), case)[0], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "shape",
    [
        {"layers": 2},
        {"widths": (32, 64, 96), "attentive": [True, False, True]},
        {"widths": (32, 32, 64), "attentive": [False, True, False], "layers": 3},
        {"text": 32, "inputs": 4},
    ],
)
def test_every_size_follows_from_the_tensors(shape):
    unet = make_unet(**shape)
    tensors = original_unet(unet)
    assert len(tensors) == len(unet.state_dict())
    again = convert_unet(tensors, None, torch.float32)
    assert same(unet, again)
    for key, value in again.config.items():
        if not key.startswith("_") and key != "sample_size":
            wanted = unet.config[key]
            assert value == wanted or list(value) == list(wanted), key
    for widths, layers in (((32, 64), 2), ((32, 64, 64), 1)):
        vae = make_autoencoder(widths, layers)
        assert same(vae, convert_autoencoder(original_autoencoder(vae), None))


def test_published_sizes_name_for_name():
    with torch.device("meta"):
        unet, vae, text = full_size()
    names = original_unet(unet)
    # As counted in the published files.
    assert len(names) == 966
    assert round(sum(tensor.numel() for tensor in names.values()) / 1e6, 1) == 1068.6
    assert len(original_autoencoder(vae)) == 248
    assert len(original_text_encoder(text)) == 197
    shapes = {
        "input_blocks.0.0.weight": (320, 9, 3, 3),
        "input_blocks.8.1.transformer_blocks.0.fuser.linear.weight": (1280, 768),
        "middle_block.1.transformer_blocks.0.fuser.alpha_attn": (),
        "output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
        "output_blocks.8.2.conv.weight": (640, 640, 3, 3),
        "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight": (2560, 320),
        "position_net.linears.0.weight": (512, 832),
    }
    assert {name: tuple(names[name].shape) for name in shapes} == shapes
    converted = convert_unet(names, None, torch.float16)
    assert {name: t.shape for name, t in converted.state_dict().items()} == {
        name: t.shape for name, t in unet.state_dict().items()
    }
    assert len(convert_autoencoder(original_autoencoder(vae), None).state_dict()) == 248


@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_is_beside_the_weights_does_nothing(parts, home, zipped):
    target = home / "ran"

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {target}",)

    path = home / "checkpoint_00010000.pth"
    more = {"opt": {"state": {0: torch.zeros(3)}}, "iters": 3, "callback": Hostile()}
    save_original(
        path,
        parts.unet,
        parts.vae,
        parts.text,
        {**SETTINGS, "hook": Hostile()},
        zipped,
        model={**original_unet(parts.unet), "hook": Hostile()},
        **more,
    )
    assert same(load(path).unet, load_gligen(path, torch.float32).unet)
    assert same(load(path).unet, parts.unet)
    assert not target.exists()


def test_what_no_tensor_tells_comes_from_the_configuration(parts, home):
    path = home / "model.pth"
    unet = open_gates(make_unet(heads=4))
    model = {"params": {"image_size": 16, "num_heads": 4}}
    settings = {"model": model, "autoencoder": {"params": {"scale_factor": 0.5}}}
    save_original(path, unet, parts.vae, parts.text, settings)
    found = load_gligen(path, torch.float32)
    assert found.unet.config.attention_head_dim == 4 and found.unet.config.sample_size == 16
    assert found.vae.config.scaling_factor == 0.5
    save_original(path, unet, parts.vae, parts.text, config_dict=settings)
    assert load_gligen(path, torch.float32).unet.config.attention_head_dim == 4
    for nonsense in (None, {}, [1], DictConfig({"model": 3}), {"model": {"params": []}}):
        save_original(path, unet, parts.vae, parts.text, config_dict=nonsense)
        found = load_gligen(path, torch.float32)
        assert found.unet.config.attention_head_dim == 8 and found.unet.config.sample_size == 64
        assert found.vae.config.scaling_factor == 0.18215


def test_another_noise_schedule_is_kept(parts, home):
    path = home / "model.pth"
    betas = torch.linspace(0.0001, 0.02, 500)
    save_original(path, parts.unet, parts.vae, parts.text, diffusion={"betas": betas})
    scheduler = DDIMScheduler.from_config(load_gligen(path, torch.float32).scheduler)
    torch.testing.assert_close(scheduler.betas, betas)


def test_half_precision_files_load_in_the_wanted_type(parts, home):
    path = home / "model.pth"
    half = {name: tensor.half() for name, tensor in original_unet(parts.unet).items()}
    save_original(path, parts.unet, parts.vae, parts.text, model=half)
    for dtype in (torch.float32, torch.float16):
        found = load_gligen(path, dtype)
        assert found.unet.dtype == found.text_encoder.dtype == dtype
        assert found.vae.dtype == torch.float32
    path.unlink()
    assert float(found.unet.conv_in.weight.abs().sum()) > 0


@pytest.mark.parametrize("kind", ["folder", "original"])
def test_generation_models_are_widened_and_that_is_said_once(parts, home, kind, caplog):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        unet = open_gates(make_unet(inputs=4)).half().float()
    if kind == "folder":
        source = save_folder(home / "generation", parts, unet)
    else:
        source = home / "generation.bin"
        save_original(source, unet, parts.vae, parts.text, SETTINGS)
    with caplog.at_level(logging.WARNING, "xsyn_core"):
        model = load(source)
        load(source)
    (record,) = (r for r in caplog.records if r.name == "xsyn_core.weights")
    assert "not for inpainting" in record.getMessage() and str(source) in record.getMessage()
    assert model.unet.config.in_channels == 9 and model.unet.conv_in.in_channels == 9
    inputs = torch.randn(1, 9, 8, 8, generator=torch.Generator().manual_seed(3))
    condition = Condition("gun", ("gun",), ((0.25, 0.25, 0.5, 0.5),))
    text, grounding = model.text_states(["gun"]), model.grounding_tokens([condition])
    answer = model.predict(inputs, torch.tensor(500), text, grounding)
    with torch.no_grad():
        wanted = unet(
            inputs[:, :4],
            torch.tensor(500),
            encoder_hidden_states=text,
            cross_attention_kwargs={"gligen": grounding},
        ).sample
    torch.testing.assert_close(answer, wanted, rtol=1e-5, atol=1e-5)
    # What is saved and loaded again is an inpainting model.
    saved = save_folder(home / "saved", parts, model.unet)
    assert weights.load_diffusion(saved, CPU, "saved").unet.config.in_channels == 9


def test_a_folder_or_repository_with_the_original_file_alone(parts, original, home, monkeypatch):
    original.rename(home / "diffusion_pytorch_model.bin")
    monkeypatch.setattr(weight_sources, "_download", lambda name: home)
    for name in (str(home), "gligen/gligen-inpainting-text-box"):
        assert weight_sources.diffusion_source(name) == home / "diffusion_pytorch_model.bin"
    (home / "unet").mkdir()
    assert weight_sources.diffusion_source(str(home)) == home


def test_the_fingerprint_of_a_file_follows_weights_and_tokenizer(original, home, tiny_files):
    sam = tiny_files[1]
    first = weight_sources.fingerprint(original, sam)
    elsewhere = home / "elsewhere"
    shutil.copytree(home / "tokenizer", elsewhere / "tokenizer")
    moved = original.rename(elsewhere / "other.bin")
    assert weight_sources.fingerprint(moved, sam) == first
    file = elsewhere / "tokenizer" / "tokenizer.json"
    file.write_text(file.read_text() + " ")
    assert weight_sources.fingerprint(moved, sam) != first


def test_the_tokenizer_beside_or_cached_or_none(original, home, monkeypatch, folder):
    wanted = load(folder).tokenizer(["utility knife"]).input_ids
    tokenizer = home / "tokenizer"
    # As published: a vocabulary and its merges.
    whole = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    shutil.rmtree(tokenizer)
    cache = home / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    message = refused(original)
    assert "vocab.json and merges.txt" in message and str(tokenizer) in message
    model = cache / "models--openai--clip-vit-large-patch14"
    snapshot = model / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0" * 40)
    assert "vocab.json and merges.txt" in refused(original)
    (snapshot / "vocab.json").write_text(json.dumps(whole["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in whole["merges"]]
    (snapshot / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    assert load(original).tokenizer(["utility knife"]).input_ids == wanted
    shutil.copytree(snapshot, tokenizer)
    shutil.rmtree(cache)
    assert load(original).tokenizer(["utility knife"]).input_ids == wanted
    (tokenizer / "vocab.json").write_text(
        json.dumps({k: v for k, v in whole["vocab"].items() if v % 2 or k.startswith("<|")})
    )
    message = refused(original)
    assert "tokenizer" in message and "merges.txt" in message


def without(tensors, *words):
    return {k: v for k, v in tensors.items() if not any(word in k for word in words)}


def prefixed(tensors):
    return {f"model.diffusion_model.{name}": tensor for name, tensor in tensors.items()}


def foreign(parts, case):
    """The content of a file that is not wanted, and the words that name it."""
    gligen = original_unet(parts.unet)
    plain = original_unet(make_unet(inputs=4, gated=False))
    inpainting = original_unet(make_unet(gated=False))
    ones = torch.ones(1)
    return {
        "Stable Diffusion": ({"state_dict": prefixed(plain)}, "ordinary Stable Diffusion"),
        "its inpainting": (
            {"state_dict": prefixed(inpainting)},
            "an inpainting Stable Diffusion model (9 input channels)",
        ),
        "SAM": ({"image_encoder.pos_embed": ones, "mask_decoder.x": ones}, "Segment Anything"),
        "SAM 2": ({"model": {"image_encoder.trunk.pos_embed": ones}}, "SAM 2"),
        "a UNet alone": (dict(parts.unet.state_dict()), "the UNet of a diffusers folder"),
        "grounding layers": (
            {k: v for k, v in gligen.items() if "fuser" in k or "position_net" in k},
            "grounding layers alone",
        ),
        "the UNet of a GLIGEN": ({"model": gligen}, "without its autoencoder, text_encoder"),
        "keypoints": ({"model": without(gligen, "null_positive_feature")}, "boxes with text"),
        "something else": ({"layer.weight": ones}, "1 tensors such as layer.weight"),
        "no weights": ({"epoch": 3}, "holds no weights"),
        "a list": ([ones], "holds a list"),
    }[case]


@pytest.mark.parametrize(
    "case",
    [
        "Stable Diffusion",
        "its inpainting",
        "SAM",
        "SAM 2",
        "a UNet alone",
        "grounding layers",
        "the UNet of a GLIGEN",
        "keypoints",
        "something else",
        "no weights",
        "a list",
    ],
)
def test_other_files_are_named(parts, home, case):
    content, words = foreign(parts, case)
    path = home / "model.bin"
    torch.save(content, path)
    message = refused(path)
    assert words in message and "model.bin" in message and message.endswith(NEEDED)
    if isinstance(content, dict) and all(isinstance(v, torch.Tensor) for v in content.values()):
        save_file({k: v.clone().contiguous() for k, v in content.items()}, path)
        assert refused(path) == message


def test_gligens_with_a_part_that_does_not_fit(parts, home):
    path = home / "model.bin"
    gligen = original_unet(parts.unet)
    for model in (
        without(gligen, "input_blocks.1.0.in_layers.2"),
        without(gligen, "middle_block"),
        {**gligen, "downsample_net.layer.weight": torch.ones(1)},
        {**gligen, "out.0.weight": torch.ones(7)},
    ):
        save_original(path, parts.unet, parts.vae, parts.text, model=model)
        message = refused(path)
        assert "do not fit together" in message and message.endswith(NEEDED)
    vae = without(original_autoencoder(parts.vae), "decoder.mid")
    save_original(path, parts.unet, parts.vae, parts.text, autoencoder=vae)
    assert "do not fit together" in refused(path)
    text = without(original_text_encoder(parts.text), "final_layer_norm")
    save_original(path, parts.unet, parts.vae, parts.text, text_encoder=text)
    assert "final_layer_norm" in refused(path)
    save_original(path, make_unet(inputs=6), parts.vae, parts.text)
    assert "takes 6 input channels, not 9" in refused(path)


def test_files_that_are_no_weights(original, home):
    whole = original.read_bytes()
    original.write_bytes(whole[: len(whole) // 2])
    assert "cut short" in refused(original)
    for content, words in (
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x80\x02}q\x00.", "none that PyTorch wrote"),
        (b"", "neither"),
    ):
        original.write_bytes(content)
        message = refused(original)
        assert words in message and message.endswith(NEEDED)


@pytest.mark.parametrize(("inputs", "words"), [(4, "a diffusion model"), (9, "an inpainting")])
def test_folders_of_stable_diffusion_are_named(parts, home, inputs, words):
    unet = make_unet(inputs=inputs, gated=False)
    message = refused(save_folder(home / "sd", parts, unet))
    assert words in message and f"{inputs} input channels" in message
    assert "knows no grounding boxes" in message and message.endswith(NEEDED)
