"""Training of the embedded denoiser, on two scenes and tiny random models."""

import numpy as np
import pytest
from transformers import CLIPTextConfig, CLIPTextModel

from xsyn_core.attitudes import COMPASS, MIRRORED
from xsyn_core.categories import phrase
from xsyn_core.errors import XsynError
from xsyn_core.training import denoiser
from xsyn_core.training.data import NAMES, Shard
from xsyn_core.weights import load_models


@pytest.fixture(scope="module")
def trained(rendered, tiny_files, tmp_path_factory):
    """The folder of two steps' training; the latents that they learnt from."""
    folder = tmp_path_factory.mktemp("denoiser")

    def train(steps):
        denoiser.main(
            vae=tiny_files[0] / "vae",
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
        )

    train(1)
    train(2)
    return folder


@pytest.fixture(scope="module")
def latents(trained):
    with np.load(trained / "latents" / "00000.npz") as file:
        return denoiser.Latents(**file)


def test_two_runs_of_one_step_make_two_steps(trained):
    rows = (trained / "run" / "loss.csv").read_text().split()
    assert [int(row.split(",")[0]) for row in rows] == [1, 2]
    for row in rows:
        losses = dict(cell.split("=") for cell in row.split(",")[1:])
        assert set(losses) == {"loss", "inside", "attention"}
        assert all(np.isfinite(float(value)) for value in losses.values())


def test_a_base_that_reads_other_words_is_refused(tiny_files, tmp_path):
    base = tmp_path / "base"
    other = CLIPTextConfig(vocab_size=9, hidden_size=8, num_attention_heads=1, num_hidden_layers=1)
    CLIPTextModel(other).save_pretrained(base / "text_encoder")
    with pytest.raises(XsynError, match="9 tokens where this recipe has"):
        denoiser.main(
            vae=tiny_files[0] / "vae",
            base=base,
            out=tmp_path / "out",
            data=tmp_path / "data",
            latents=tmp_path / "latents",
            run=tmp_path / "run",
            steps=1,
            batch=1,
            shard_count=1,
            looks=1,
            device="cpu",
        )
    # before any picture is rendered or encoded
    assert sorted(tmp_path.iterdir()) == [base]


def test_a_category_of_a_quarter_of_the_windows_is_drawn_half_as_often():
    categories = np.array([3] * 16 + [7] * 4 + [3] * 16 + [0] * 8)
    chances = denoiser.chances(categories)
    assert chances.sum() == pytest.approx(1)
    of = [chances[categories == k].sum() for k in (3, 0, 7)]
    assert of[0] / of[1] == pytest.approx(2) and of[1] / of[2] == pytest.approx(2**0.5)


def test_the_model_is_written_with_the_attitudes_that_it_saw(trained, tiny_files, latents):
    model = load_models(trained / "out", tiny_files[1], "cpu").diffusion
    seen: dict[str, set] = {}
    for row, box in enumerate(latents.boxes[:, 0]):
        ratio = round(float((box[2] - box[0]) / (box[3] - box[1])), 2)
        name = NAMES[latents.categories[row, 0]]
        seen.setdefault(name, set()).add((str(latents.attitudes[row, 0]), ratio))
    assert {name: set(some) for name, some in model.attitudes.known.items()} == seen


def test_the_tokenizer_is_written_as_it_was_built(trained, tiny_files):
    written, built = (
        (folder / "tokenizer" / "tokenizer.json").read_text()
        for folder in (trained / "out", tiny_files[0])
    )
    assert written == built


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
