"""The other commands, and what all share, with a stand-in for the models."""

import json
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest
from calling import ROOT, fails, lines, passes, put_scan
from made_synthesizer import REGIONS, MadeSynthesizer

from xsyn_core import catalogs
from xsyn_core.categories import CATALOGS, PIDRAY
from xsyn_core.cli import commands
from xsyn_core.cli.terminal import bar
from xsyn_core.curation.readers import read_dataset
from xsyn_core.curation.workspace import Workspace
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import read_scan


def test_regions_prints_json(made, tmp_path):
    result = passes("regions", put_scan(tmp_path / "bag.png"))
    found = json.loads(result.stdout)
    assert [tuple(region["box"]) for region in found] == list(REGIONS)
    for region in found:
        x1, y1, x2, y2 = region["box"]
        assert region["area"] == (x2 - x1) * (y2 - y1)
        assert tuple(region["candidates"]) == CATALOGS["pidray"].candidates(region["area"])


def test_compile_reaches_the_models(made, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("xsyn_core.weights.load_models", lambda *given: asked.append(given))
    scan = put_scan(tmp_path / "bag.png")
    item = ("--category", "knife", "--box", "100,20,200,120", "--steps", 1)
    for number, option in enumerate(((), ("--compile",))):
        passes("synthesize", scan, *item, "--out", tmp_path / str(number), *option)
    assert [given[-1] for given in asked] == [False, True]


def test_regions_needs_the_segmenter_alone(tiny_files, monkeypatch, tmp_path):
    def load(*_):
        raise AssertionError("the diffusion model was loaded")

    monkeypatch.setattr("xsyn_core.weights.load_diffusion", load)
    scan = put_scan(tmp_path / "bag.png")
    result = passes("regions", scan, "--sam", tiny_files[1], "--device", "cpu")
    assert isinstance(json.loads(result.stdout), list)


def test_export_of_a_workspace(made, tmp_path, monkeypatch):
    source = read_scan(put_scan(tmp_path / "bag.png"))
    request = Request((Grounding("Gun", (10, 10, 60, 60)),))
    sample = MadeSynthesizer(None).occlude((source, request), 0.3, 0, 0, "latent", True)
    with Workspace(tmp_path / "work") as workspace:
        workspace.decide(workspace.add(sample), "accept")
        workspace.add(sample)
    shown = []
    monkeypatch.setattr(commands, "bar", lambda *what: shown.append(bar(*what)) or shown[-1])
    result = passes("export", tmp_path / "work", "--out", tmp_path / "out")
    assert result.stdout == f"{tmp_path}/out/annotations/instances.json\n"
    assert len(read_dataset(tmp_path / "out")) == 1
    assert [(one.n, one.total, one.unit) for one in shown] == [(1, 1, "sample")]
    fails("no accepted sample of OPIXray", "export", tmp_path / "work", "--catalog", "opixray",
          "--out", tmp_path / "none")  # fmt: skip


def test_export_takes_the_catalogue_of_most_samples(made, tmp_path):
    own = catalogs.own_catalog("Lab 7", {"tent": [(100, 100)]}, (1e5, 1e5), 0.001, 0.25)
    source = read_scan(put_scan(tmp_path / "bag.png"))
    with Workspace(tmp_path / "work") as workspace:
        for name, catalog in (("Gun", PIDRAY), ("tent", own), ("tent", own)):
            request = Request((Grounding(name, (10, 10, 60, 60)),), catalog=catalog)
            sample = MadeSynthesizer(None).occlude((source, request), 0.3, 0, 0, "latent", True)
            workspace.decide(workspace.add(sample), "accept")
    common = ("export", tmp_path / "work", "--out", tmp_path / "out")
    for options, count in (((), 2), (("--catalog", own.key), 2), (("--catalog", "Lab 7"), 2),
                           (("--catalog", "pidray"), 1)):  # fmt: skip
        result = passes(*common, *options)
        assert len(lines(tmp_path / "out")) == count
        assert f"{3 - count} sample" in result.stderr
    fails("There is no catalogue 'Lab 8'", *common, "--catalog", "Lab 8")
    (tmp_path / "work" / "samples" / "000002" / "sample.json").write_text("{")
    fails("incomplete or damaged", *common)
    passes(*common, "--catalog", "PIDray")


def test_a_mount_point_is_refused_before_the_work(no_models, monkeypatch, tmp_path):
    scan, disk = put_scan(tmp_path / "bag.png"), tmp_path / "disk"
    Workspace(tmp_path / "work").close()
    monkeypatch.setattr("os.path.ismount", lambda path: path == disk)
    for command in (("synthesize", scan), ("export", tmp_path / "work"), ("simulate",)):
        fails("Give a folder inside it", *command, "--out", disk)


def test_simulate_hands_its_options_on(monkeypatch, tmp_path):
    asked = {}

    def simulate(**options):
        asked.update(options)
        options["progress"](1, 2)
        return tmp_path / "x.json"

    module = types.SimpleNamespace(simulate=simulate)
    monkeypatch.setattr("xsyn_core.simulation.dataset", module, raising=False)
    monkeypatch.setitem(sys.modules, "xsyn_core.simulation.dataset", module)
    result = passes("simulate", "--count", 2, "--seed", 4, "--size", "64x48", "--out", tmp_path)
    assert result.stdout == f"{tmp_path}/x.json\n"
    asked.pop("progress")
    assert asked == {
        "count": 2, "seed": 4, "out": tmp_path, "look": None, "workers": 1, "size": (48, 64)
    }  # fmt: skip


def test_training_and_evaluation_are_handed_on(monkeypatch):
    asked = {}

    def main(out: Path = Path("here"), steps: int = 5) -> None:
        """Train a thing.

        Args:
            out: where.
        """
        asked.update(out=out, steps=steps)

    monkeypatch.setitem(sys.modules, "xsyn_core.evaluation.speed", types.SimpleNamespace(main=main))
    passes("evaluate", "speed", "--steps", 9)
    assert asked == {"out": Path("here"), "steps": 9}
    result = passes("evaluate", "speed", "--help")
    assert "Train a thing." in result.stdout and "--out" in result.stdout
    assert "where" not in result.stdout
    fails("--nonsense", "evaluate", "speed", "--nonsense")
    fails("--steps", "evaluate", "speed", "--steps", "x")


@pytest.mark.parametrize(
    "command",
    [
        *(("evaluate", name) for name in ("models", "speed", "simulator", "finetuned")),
        *(("train", name) for name in ("autoencoder", "denoiser", "segmenter", "classifier")),
        *(("train", name, "--embedded") for name in ("denoiser", "segmenter")),
    ],
)
def test_every_option_of_a_delegate_explains_itself(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    told = [
        line.strip("│* ").split()
        for line in passes(*command, "--help").stdout.splitlines()
        if line.startswith("│") and " --" in line
    ]
    assert len(told) >= 5
    for name, kind, *words in told:
        if words and words[0] == "range>":
            words = words[2:]
        text = " ".join(words).partition("[default")[0]
        assert len(text) > 8, (name, kind)


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "detection", "--data", "none", "--test", "none"),
        *(("train", name) for name in ("autoencoder", "denoiser", "segmenter", "classifier")),
        *(("train", name, "--embedded") for name in ("denoiser", "segmenter")),
    ],
)
def test_a_senseless_rate_is_refused_before_anything_is_made(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for rate in ("-1", "0", "1", "nan", "inf"):
        fails("give --rate above 0 and below 1", *command, "--rate", rate)
    assert list(tmp_path.iterdir()) == []


def test_only_embedded_models_are_trained_on_simulated_scans(monkeypatch):
    asked = []
    for name in ("segmenter", "finetuning_segmenter"):

        def main(data: Path, name: str = name) -> None:
            asked.append((name, data))

        module = types.SimpleNamespace(main=main)
        monkeypatch.setitem(sys.modules, f"xsyn_core.training.{name}", module)
    passes("train", "segmenter", "a")
    passes("train", "segmenter", "--embedded", "b")
    assert asked == [("finetuning_segmenter", Path("a")), ("segmenter", Path("b"))]


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "xsyn_core", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_exit_codes_of_the_process(tmp_path):
    done = run("regions", tmp_path / "none.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: There is no file {tmp_path}/none.png. Check the path.\n"
    assert run("--help").returncode == 0
    assert run("synthesize", "--nonsense").returncode == 2


def test_help_and_mistakes_do_not_wait_for_the_models():
    code = """
        import sys
        from typer.testing import CliRunner
        from xsyn_core.cli.commands import app
        assert CliRunner().invoke(app, ["synthesize", "--help"]).exit_code == 0
        assert CliRunner().invoke(app, ["regions", "none.png"]).exit_code == 2
        print({"torch", "diffusers", "transformers", "gradio"} & set(sys.modules))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize("command", ["synthesize", "export", "simulate"])
def test_help_says_that_an_earlier_dataset_is_replaced(monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "300")
    assert "replaced as a whole" in " ".join(passes(command, "--help").stdout.split())
