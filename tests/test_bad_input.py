"""What goes wrong in use: each case gives one message that says what to do, and no file."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from xsyn_core import weight_sources, weights
from xsyn_core.categories import PIDRAY
from xsyn_core.checks import checked_request
from xsyn_core.cli.commands import app
from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError
from xsyn_core.grounding import addition
from xsyn_core.refinement import refine
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import make_scan
from xsyn_core.segmentation import load_sam
from xsyn_core.synthesis import Synthesizer
from xsyn_core.training.architectures import LATENT_CHANNELS

ROOT = Path(__file__).parents[1]
KNIFE = ("--category", "Knife")
MIDDLE = ("--box", "100,90,160,130")

# name: groundings, words of the message
REQUESTS = {
    "box outside": (((400, 10, 460, 60),), ("outside", "320 x 240", "Move it in")),
    "box left of the scan": (((-80, 10, -20, 60),), ("outside", "Move it in")),
    "inverted box": (((160, 130, 100, 90),), ("inverted", "top-left corner first")),
    "empty box": (((100, 90, 100, 130),), ("inverted or empty",)),
    "tiny box": (((100, 90, 103, 130),), ("too small", "at least 4 pixels")),
    "box that hardly reaches in": (((318, 10, 400, 60),), ("too small inside the scan",)),
    "box over everything": (((0, 0, 320, 240),), ("whole scan", "leave room")),
    "box far over everything": (((-99, -99, 999, 999),), ("whole scan", "leave room")),
    "not a number": (((float("nan"), 0, 50, 50),), ("finite numbers",)),
    "endless": (((0, 0, float("inf"), 50),), ("finite numbers",)),
    "three numbers": (((1, 2, 3),), ("four numbers", "x1,y1,x2,y2")),
    "words": ((("a", "b", "c", "d"),), ("four numbers",)),
    "nothing to paint": ((), ("Nothing to paint", "at least one category")),
}
# name: options of `synthesize`, words of the message
COMMANDS = {
    "unknown category": (("--category", "Banana", *MIDDLE), ("Banana", "Knife")),
    "category of another catalogue": (("--category", "Laptop", *MIDDLE), ("Laptop", "Choose")),
    "unknown catalogue": ((*KNIFE, "--catalog", "coco"), ("coco", "pidray")),
    "box of words": ((*KNIFE, "--box", "here"), ("'here'", "--box x1,y1,x2,y2")),
    "box of three": ((*KNIFE, "--box", "1,2,3"), ("--box x1,y1,x2,y2",)),
    "box outside": ((*KNIFE, "--box", "400,10,460,60"), ("outside", "Move it in")),
    "inverted box": ((*KNIFE, "--box", "160,130,100,90"), ("inverted",)),
    "more categories than boxes": ((*KNIFE, *KNIFE, *KNIFE, *MIDDLE, *MIDDLE), ("for 2 boxes",)),
    "alpha of 2": ((*KNIFE, *MIDDLE, "--alpha", "2"), ("alpha", "from 0 to 1")),
    "9 divisions": ((*KNIFE, *MIDDLE, "--divisions", "9"), ("divisions", "from 0 to 8")),
    "guidance of 0": ((*KNIFE, *MIDDLE, "--guidance", "0"), ("guidance", "from 1 to 30")),
    "nothing annotated": (("--variant", "modify"), ("no annotated item", "annotations")),
    "no such device": ((*KNIFE, *MIDDLE, "--device", "abacus"), ("abacus", "cpu")),
    "no such annotations": ((*KNIFE, "--annotations", "none.json"), ("none.json",)),
}


def refusal(action, *arguments, **options):
    with pytest.raises(XsynError) as caught:
        action(*arguments, **options)
    return str(caught.value)


def command(*arguments):
    """Run a command that must refuse: its message."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    (message,) = result.stderr.splitlines()
    assert message.startswith("Error: ")
    return message


@pytest.fixture
def bag(tmp_path, drawn_scan):
    """A file of the drawn scan, the only one in its folder."""
    path = tmp_path / "bag.png"
    Image.fromarray(drawn_scan.pixels).save(path)
    return path


@pytest.fixture
def loaded(drawn_models, monkeypatch):
    """Commands get the drawn models instead of loading some; devices are still checked."""

    def load(diffusion="embedded", sam="embedded", device="auto", compiled=False):
        weights.pick_device(device)
        return drawn_models

    monkeypatch.setattr(weights, "load_models", load)


@pytest.mark.parametrize("case", REQUESTS)
def test_requests_that_cannot_be_met(case, drawn_scan):
    places, words = REQUESTS[case]
    request = Request(tuple(Grounding("Knife", place) for place in places))
    message = refusal(checked_request, drawn_scan, request)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("case", COMMANDS)
def test_commands_that_cannot_be_met(case, bag, loaded):
    options, words = COMMANDS[case]
    message = command("synthesize", bag, *options, "--out", bag.parent / "out")
    assert all(word in message for word in words), message
    assert list(bag.parent.iterdir()) == [bag]


def test_a_real_process_ends_with_one_line(tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("This is not a scan.")
    for name in ("synthesize", "regions"):
        options = ["--out", str(tmp_path / "out")] if name == "synthesize" else []
        done = subprocess.run(
            [sys.executable, "-m", "xsyn_core", name, str(note), *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert done.stdout == ""
        (message,) = done.stderr.splitlines()
        assert "note.txt is not an image" in message and "Use PNG" in message
    assert list(tmp_path.iterdir()) == [note]


def test_a_dataset_is_not_written_over_something_else(bag, loaded):
    before = bag.read_bytes()
    words = command("synthesize", bag, *KNIFE, *MIDDLE, "--out", bag)
    assert "is a file" in words and "Give a folder" in words
    words = command("synthesize", bag, *KNIFE, *MIDDLE, "--out", bag.parent)
    assert "bag.png" in words and "empty or new folder" in words
    assert list(bag.parent.iterdir()) == [bag] and bag.read_bytes() == before


def test_a_folder_that_cannot_be_written(bag, loaded):
    message = command(
        "synthesize", bag, *KNIFE, *MIDDLE, "--steps", "1", "--out", bag / "inside" / "out"
    )
    assert "cannot be written" in message and "another folder" in message
    assert list(bag.parent.iterdir()) == [bag]


def test_a_workspace_that_cannot_be_used(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("mine")
    assert "is a file" in refusal(Workspace, file)
    message = refusal(Workspace, file / "workspace")
    assert "cannot be written" in message and "Choose another folder" in message
    assert "no workspace" in command("export", tmp_path / "none", "--out", tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    # Permissions do not bind everyone, so a folder without them is only told about.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "Permission denied" in refusal(Workspace, tmp_path / "locked")


@pytest.fixture(scope="module")
def blank():
    return make_scan(np.full((240, 320, 3), 255, np.uint8), "blank.png")


def test_a_blank_scan_has_no_idle_region(blank, drawn_models, tmp_path, loaded):
    synthesizer = Synthesizer(drawn_models)
    assert synthesizer.idle(blank, PIDRAY) == []
    message = refusal(synthesizer.propose, blank, PIDRAY, 0)
    assert "no idle region" in message and "Draw a box" in message
    assert refusal(addition, [], PIDRAY, blank.size, np.random.default_rng(0)) == message
    Image.fromarray(blank.pixels).save(tmp_path / "blank.png")
    assert message in command("synthesize", tmp_path / "blank.png", "--out", tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["blank.png"]


def test_a_blank_scan_can_still_be_painted(blank, drawn_models):
    request = Request((Grounding("Knife", (100.0, 90.0, 160.0, 130.0)),), steps=1)
    sample = Synthesizer(drawn_models).synthesize(blank, request)
    assert sample.occlusion is None
    assert any("No occluder" in note for note in sample.notes)


@pytest.mark.parametrize("value", [0.0, 0.25, float("nan")])
def test_a_flat_attention_map_is_told(value, tiny_models, drawn_scan):
    found = refine(
        tiny_models.segmenter,
        drawn_scan.pixels,
        np.full(drawn_scan.size, value, np.float32),
        (100.0, 90.0, 160.0, 130.0),
    )
    assert any("flat" in flag and "box alone" in flag for flag in found.flags)
    assert found.region[90:130, 100:160].all() and found.region.sum() == 40 * 60


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def random_tensors(path):
    save_file({"layer.weight": torch.zeros(4, 4), "layer.bias": torch.zeros(4)}, path)


def half_random(path):
    """Half of the tensors under names that no model has."""
    tensors = load_file(path)
    for name in sorted(tensors)[::2]:
        tensors[f"foreign.{name}"] = tensors.pop(name)
    save_file(tensors, path, {"format": "pt"})


def web_page(path):
    path.write_text("<!DOCTYPE html><html><body>Sign in to download</body></html>")


def pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")


# name: what happens to a file of SAM weights, words of the message
SAM_FILES = {
    "web page": (web_page, ("web page", "Download the file itself")),
    "Git LFS pointer": (pointer, ("Git LFS pointer", "git lfs pull")),
    "cut short": (cut, ("cut short", "again")),
    "random tensors": (random_tensors, ("not a whole SAM", "sam_vit_b_01ec64.pth")),
    "half random": (half_random, ("sam_vit_b_01ec64.pth",)),
    "empty": (lambda path: path.write_bytes(b""), ("neither", "sam_vit_b_01ec64.pth")),
}


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("case", SAM_FILES)
def test_broken_or_foreign_sam(case, ending, tiny_files, tmp_path):
    spoil, words = SAM_FILES[case]
    path = tmp_path / f"sam{ending}"
    shutil.copy(tiny_files[1], path)
    spoil(path)
    message = refusal(load_sam, path)
    assert all(word in message for word in words), message


@pytest.fixture
def model(tiny_files, tmp_path):
    """A copy of the diffusers folder whose files may be spoilt."""
    return Path(shutil.copytree(tiny_files[0], tmp_path / "model"))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("spoil", [cut, random_tensors, half_random, web_page, pointer])
def test_broken_or_foreign_diffusion(part, spoil, model, tiny_files):
    (file,) = (model / part).glob("*.safetensors")
    spoil(file)
    message = refusal(weights.load_models, model, tiny_files[1], "cpu")
    assert "cannot be read" in message and weights.NEEDED in message
    assert len(message) < 900 and "\n" not in message


def test_weights_on_the_command_line(model, bag, tiny_files):
    folder, sam = tiny_files
    outcome = {path.name for path in bag.parent.iterdir()}
    arguments = ("synthesize", bag, *KNIFE, *MIDDLE, "--out", bag.parent / "out")
    page = bag.parent / "sam.pth"
    web_page(page)
    assert "web page" in command(*arguments, "--diffusion", folder, "--sam", page)
    page.unlink()
    config = model / "unet" / "config.json"
    needed = 2 * LATENT_CHANNELS + 1
    told = config.read_text()
    config.write_text(told.replace(f'"in_channels": {needed}', '"in_channels": 4'))
    message = command(*arguments, "--diffusion", model, "--sam", sam)
    assert f"takes 4 input channels, not {needed}" in message and weights.NEEDED in message
    assert {path.name for path in bag.parent.iterdir()} == outcome


def test_an_unreadable_file_of_the_models_is_named(model, bag, tiny_files, monkeypatch):
    notes = model / "unet" / "notes.txt"
    notes.write_text("mine")

    def opened(path, *given):
        if path == str(notes):
            raise PermissionError(13, "Permission denied", path)
        return open(path, *given)

    monkeypatch.setattr(weight_sources, "open", opened, raising=False)
    models = ("--diffusion", model, "--sam", tiny_files[1])
    message = command("synthesize", bag, *KNIFE, *MIDDLE, *models, "--out", bag.parent / "out")
    assert f"{notes} cannot be read (Permission denied)" in message
    assert not (bag.parent / "out").exists()


@pytest.mark.parametrize("name", [f"{300 * 'a'}.pth", "~nobody-of-that-name/sam.pth"])
@pytest.mark.parametrize("option", ["--diffusion", "--sam", "--out", "--annotations", "--catalog"])
def test_names_that_lead_nowhere(name, option, bag, tiny_files):
    models = {"--diffusion": tiny_files[0], "--sam": tiny_files[1]}
    asked = {"--out": bag.parent / "out", **models, option: name}
    options = [word for pair in asked.items() for word in pair]
    message = command("synthesize", bag, *KNIFE, *MIDDLE, *options)
    assert name in message and "cannot be written" not in message, message
    assert not (bag.parent / "out").exists() and not Path("~nobody-of-that-name").exists()


def test_requests_keep_what_is_right(drawn_scan):
    """The table above is about boxes: the same request with a sound one passes."""
    sound = Request((Grounding("knife", (100, 90, 160, 130)),))
    assert checked_request(drawn_scan, sound) == replace(
        sound, groundings=(Grounding("Knife", (100, 90, 160, 130)),)
    )
