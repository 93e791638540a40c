"""The command line with a stand-in for the models."""

import json
import signal
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest
import typer
from made_synthesizer import REGIONS, MadeSegmenter, MadeSynthesizer
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from xsyn_core import catalogs
from xsyn_core.categories import CATALOGS, PIDRAY
from xsyn_core.cli import commands
from xsyn_core.cli.commands import app
from xsyn_core.cli.terminal import bar
from xsyn_core.curation.coco import counted
from xsyn_core.curation.readers import read_dataset
from xsyn_core.curation.workspace import Workspace
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import read_scan

ROOT = Path(__file__).parents[2]
SIZE = (500, 200)


def put_scan(path: Path, shade: int = 250, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)
    return path


def put_dataset(folder: Path, count: int, labels: list[tuple], names: dict[int, str]) -> Path:
    """`labels` are (image number from 1, category id, bbox)."""
    for i in range(1, count + 1):
        put_scan(folder / "images" / f"{i}.png", 200 + i)
    document = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": SIZE[0], "height": SIZE[1]}
            for i in range(1, count + 1)
        ],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box}
            for i, (image, category, box) in enumerate(labels)
        ],
        "categories": [{"id": i, "name": name} for i, name in names.items()],
    }
    file = folder / "labels.json"
    file.write_text(json.dumps(document))
    return file


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr("xsyn_core.synthesis.Synthesizer", MadeSynthesizer)
    monkeypatch.setattr("xsyn_core.weights.load_models", lambda *_, **__: None)
    monkeypatch.setattr("xsyn_core.weights.load_segmenter", lambda *_, **__: MadeSegmenter())


@pytest.fixture
def no_models(monkeypatch):
    def load(*_, **__):
        raise AssertionError("the models were loaded before the mistake was told")

    monkeypatch.setattr("xsyn_core.weights.load_models", load)
    monkeypatch.setattr("xsyn_core.weights.load_segmenter", load)


def call(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def passes(*arguments: object):
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


def fails(message: str, *arguments: object) -> None:
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "provenance.jsonl").read_text().splitlines()]


def test_synthesize_writes_a_dataset_and_prints_its_path(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    result = passes(
        *("synthesize", scan, "--category", "knife", "--box", "100,20,200,120"),
        *("--seed", 5, "--alpha", 0.4, "--steps", 3, "--placement", 8, "--out", out),
    )
    assert result.stdout == f"{out}/annotations/instances.json\n"
    assert "Images: 1; 1 annotation, 1 of them painted." in result.stderr
    data = COCO(out / "annotations" / "instances.json")
    assert [a["bbox"] for a in data.anns.values()] == [[100, 20, 100, 100]]
    assert data.cats[data.anns[1]["category_id"]]["name"] == "Knife"
    (line,) = lines(out)
    assert (line["seed"], line["alpha"], line["prompt"]) == (5, 0.4, "knife")
    assert (line["settings"]["placement"], line["settings"]["steps"]) == (8, 3)
    with Image.open(out / line["file_name"]) as image:
        expected = np.full((SIZE[1], SIZE[0], 3), 250)
        expected[20:120, 100:200] = 90
        assert np.array_equal(np.asarray(image), expected)


def test_without_a_box_an_idle_region_is_picked(made, tmp_path):
    scan = put_scan(tmp_path / "bag.png")
    for seed in range(4):
        out = tmp_path / f"out{seed}"
        passes("synthesize", scan, "--seed", seed, "--steps", 1, "--out", out)
        (entry,) = lines(out)[0]["objects"]
        x1, y1, x2, y2 = entry["grounding"]
        assert (x1, y1, x2, y2) in REGIONS
        assert entry["category"] in CATALOGS["pidray"].candidates((x2 - x1) * (y2 - y1))
        passes(
            *("synthesize", scan, "--category", "Hammer", "--category", "Lighter"),
            *("--seed", seed, "--steps", 1, "--out", out),
        )
        places = [tuple(entry["grounding"]) for entry in lines(out)[0]["objects"]]
        assert places == [REGIONS[1], REGIONS[0]]


def test_boxes_and_categories_go_together(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    two = ("--box", "10,10,60,60", "--box", "100,10,180,90")
    common = ("synthesize", scan, *two, "--steps", 1, "--out", out)

    def painted() -> list[str]:
        return [entry["category"] for entry in lines(out)[0]["objects"]]

    passes(*common, "--category", "Gun", "--category", "Hand_cuffs")
    assert painted() == ["Gun", "HandCuffs"]
    passes(*common, "--category", "Gun")
    assert painted() == ["Gun", "Gun"]
    passes(*common)
    assert all(name in CATALOGS["pidray"].candidates(2500) for name in painted())
    fails("3 categories for 2 boxes", *common, *("--category", "Gun") * 3)


def test_mistakes_are_told_before_the_models_are_loaded(no_models, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    box = ("--box", "10,10,60,60")
    fails("no file", "synthesize", tmp_path / "none.png", "--out", out)
    fails("Choose one of", "synthesize", scan, "--category", "Banana", *box, "--out", out)
    fails("write --box", "synthesize", scan, "--box", "1,2,3", "--out", out)
    fails("no catalogue", "synthesize", scan, "--catalog", "x", "--out", out)
    fails("steps", "synthesize", scan, "--steps", 0, "--out", out)
    fails("--variant", "synthesize", scan, "--variant", "remove", "--out", out)
    fails("share", "synthesize", scan, "--val", 2, "--out", out)
    fails("not an image", "synthesize", Path(__file__), "--out", out)
    fails("no file", "synthesize", scan, "--annotations", tmp_path / "x.json", "--out", out)
    (out / "mine").mkdir(parents=True)
    fails("mine", "synthesize", scan, *box, "--category", "Gun", "--out", out)
    fails("is a file", "synthesize", scan, *box, "--category", "Gun", "--out", scan)
    fails("no workspace", "export", tmp_path / "none", "--out", out)
    fails("--seed", "synthesize", scan, "--seed", 2**31, "--out", out)
    fails("--size", "simulate", "--size", "7", "--out", out)


def test_a_request_that_cannot_be_met_leaves_nothing(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    common = ("synthesize", scan, "--category", "Gun", "--steps", 1, "--out", out)
    fails("outside the scan", *common, "--box", "900,900,950,950")
    fails("alpha", *common, "--box", "10,10,60,60", "--alpha", 3)
    fails("no annotated item", "synthesize", scan, "--variant", "modify", "--out", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bag.png"]


def test_modify_repaints_annotated_items(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.jpg"), tmp_path / "out"
    put_scan(tmp_path / "set" / "x.png")
    known = tmp_path / "bag.txt"
    known.write_text(
        "bag.jpg Gun 10 10 60 60\nbag.jpg knife 100 10 160 60\nbag.jpg Tent 5 5 90 90\n"
    )
    common = ("--variant", "modify", "--annotations", known, "--steps", 1, "--out", out)
    result = passes("synthesize", scan, *common)
    assert "'Tent'" in result.stderr
    data = COCO(out / "annotations" / "instances.json")
    assert [data.cats[a["category_id"]]["name"] for a in data.anns.values()] == ["Gun", "Knife"]
    passes("synthesize", scan, *common, "--category", "Knife")
    (line,) = lines(out)
    assert [entry["category"] for entry in line["objects"]] == ["Knife"]
    assert len(line["kept"]) == 1
    fails("no annotated item of Hammer", "synthesize", scan, *common, "--category", "hammer")
    fails("needs to know", "synthesize", scan, *common, "--box", "10,10,60,60")


def test_every_scan_of_a_dataset(made, tmp_path):
    labels = [(1, 3, [10, 10, 50, 60]), (2, 9, [300, 20, 100, 100])]
    file = put_dataset(tmp_path / "set", 3, labels, {3: "Laptop", 9: "Water"})
    for path in (file, tmp_path / "set"):
        passes("synthesize", path, "--seed", 7, "--steps", 1, "--out", tmp_path / "out")
        found = lines(tmp_path / "out")
        assert [(line["source"]["name"], line["seed"]) for line in found] == [
            ("1.png", 7), ("2.png", 8), ("3.png", 9)
        ]  # fmt: skip
    data = COCO(tmp_path / "out" / "annotations" / "instances.json")
    assert [c["name"] for c in data.cats.values()] == list(CATALOGS["hixray"].names)
    assert len(data.anns) == 5
    fails("leave --annotations out", "synthesize", file, "--annotations", file, "--out", "x")


def test_a_folder_of_images_alone(made, tmp_path):
    for i in (1, 2):
        put_scan(tmp_path / "set" / f"{i}.png", 200 + i)
    out = tmp_path / "out"
    result = passes("synthesize", tmp_path / "set", "--count", 4, "--steps", 1, "--out", out)
    assert [line["source"]["name"] for line in lines(out)] == ["1.png", "1.png", "2.png", "2.png"]
    assert all(line["kept"] == [] for line in lines(out))
    assert "without annotations" in result.stderr and ": 2 (the first: 1.png)" in result.stderr
    fails("no annotated item", "synthesize", tmp_path / "set", "--variant", "modify",
          "--out", tmp_path / "none")  # fmt: skip
    for command in (("train", "denoiser"), ("train", "segmenter")):
        fails("known format", *command, "--data", tmp_path / "set", "--run", tmp_path / "run")
    fails("known format", "evaluate", "detection", "--data", tmp_path / "set", "--test",
          tmp_path / "set", "--added", tmp_path / "set")  # fmt: skip


def test_count_spreads_over_the_scans(made, tmp_path):
    file = put_dataset(tmp_path / "set", 3, [], {1: "Gun"})
    for count, expected in ((7, [1, 1, 1, 2, 2, 3, 3]), (2, [1, 2])):
        passes("synthesize", file, "--count", count, "--steps", 1, "--out", tmp_path / "out")
        found = lines(tmp_path / "out")
        assert [int(line["source"]["name"][0]) for line in found] == expected
        assert [line["seed"] for line in found] == list(range(count))
        assert [line["settings"]["placement"] for line in found] == list(range(count))


def test_scans_that_fail_in_a_batch_are_left_out_and_named(made, tmp_path):
    file = put_dataset(tmp_path / "set", 3, [], {1: "Gun"})
    (tmp_path / "set" / "images" / "2.png").write_bytes(b"no image")
    result = passes("synthesize", file, "--steps", 1, "--out", tmp_path / "out")
    assert len(lines(tmp_path / "out")) == 2
    assert "2.png" in result.stderr and "left out" in result.stderr
    for name in ("1.png", "3.png"):
        (tmp_path / "set" / "images" / name).write_bytes(b"no image")
    fails("not an image", "synthesize", file, "--out", tmp_path / "none")


def test_validation_split(made, tmp_path):
    file = put_dataset(tmp_path / "set", 8, [], {1: "Gun"})
    arguments = ("--count", 16, "--steps", 1, "--val", 0.5, "--out", tmp_path / "out")
    result = passes("synthesize", file, *arguments)
    assert "for validation" in result.stderr
    sides: dict[str, set[str]] = {}
    for line in lines(tmp_path / "out"):
        sides.setdefault(line["source"]["name"], set()).add(line["part"])
    assert all(len(parts) == 1 for parts in sides.values())
    assert set.union(*sides.values()) == {"train", "val"}


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


def test_a_model_of_ones_own_categories_is_asked_for_them(made, tmp_path):
    scan, model = put_scan(tmp_path / "bag.png"), tmp_path / "model"
    areas = {"gas can": [2500.0, 2600], "tent": [10000.0]}
    model.mkdir()
    catalogs.save(catalogs.own_catalog("Lab 7", areas, (1e5, 1e5), 0.001, 0.25), model)
    out, common = tmp_path / "out", ("--steps", 1, "--out", tmp_path / "out")
    for options in (("--diffusion", model), ("--catalog", model / "catalog.json")):
        passes("synthesize", scan, "--category", "Gas_Can", *options, *common)
        assert [entry["category"] for entry in lines(out)[0]["objects"]] == ["gas can"]
        data = COCO(out / "annotations" / "instances.json")
        assert [c["name"] for c in data.cats.values()] == ["gas can", "tent"]
    fails("is not a category of Lab 7. Choose one of: gas can, tent", "synthesize", scan,
          "--category", "Gun", "--diffusion", model, *common)  # fmt: skip
    passes("synthesize", scan, "--category", "Gun", "--diffusion", model, "--catalog", "pidray",
           *common)  # fmt: skip
    found = json.loads(passes("regions", scan, "--catalog", model).stdout)
    assert {tuple(region["candidates"]) for region in found} == {("gas can",), ("tent",)}
    (model / "catalog.json").write_text("{}")
    fails("catalog.json is no catalogue (it has no title)", "synthesize", scan, "--diffusion",
          model, *common)  # fmt: skip


def test_export_takes_the_catalogue_of_most_samples(made, tmp_path):
    own = catalogs.own_catalog("Lab 7", {"tent": [10000.0]}, (1e5, 1e5), 0.001, 0.25)
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


def test_ctrl_c_exits_with_130(monkeypatch, tmp_path):
    def pressed(*_):
        raise KeyboardInterrupt

    Workspace(tmp_path).close()
    monkeypatch.setattr("xsyn_core.curation.coco.export", pressed)
    assert call("export", tmp_path, "--out", tmp_path / "out").exit_code == 130


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (typer.Exit(3), 3)])
def test_a_delegate_that_ends_early_does_not_exit_with_0(monkeypatch, error, code):
    def main() -> None:
        raise error

    monkeypatch.setitem(sys.modules, "xsyn_core.evaluation.speed", types.SimpleNamespace(main=main))
    assert call("evaluate", "speed").exit_code == code


def test_a_mount_point_is_refused_before_the_work(no_models, monkeypatch, tmp_path):
    scan, disk = put_scan(tmp_path / "bag.png"), tmp_path / "disk"
    Workspace(tmp_path / "work").close()
    monkeypatch.setattr("os.path.ismount", lambda path: path == disk)
    for command in (("synthesize", scan), ("export", tmp_path / "work"), ("simulate",)):
        fails("Give a folder inside it", *command, "--out", disk)


def test_what_annotations_leave_out_is_told(made, tmp_path):
    scan, known = put_scan(tmp_path / "bag.png"), tmp_path / "bag.txt"
    known.write_text("bag.png Gun 10 10 60 60\nnonsense\n")
    for command in (["regions", scan], ["synthesize", scan, "--steps", 1, "--out", tmp_path / "o"]):
        result = passes(*command, "--annotations", known)
        assert "left out: 1 (the first: bag.txt, line 2)" in result.stderr


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


INTERRUPTED = """
    import os, signal, sys, types
    sys.path[:0] = {paths!r}
    from made_synthesizer import MadeSynthesizer
    class Pressed(MadeSynthesizer):
        def paint(self, scan, request):
            if request.seed == {at}:
                os.kill(os.getpid(), {number})
            yield from super().paint(scan, request)
    # The real modules would load torch.
    sys.modules["xsyn_core.synthesis"] = types.SimpleNamespace(Synthesizer=Pressed)
    sys.modules["xsyn_core.weights"] = types.SimpleNamespace(load_models=lambda *a: None)
    from xsyn_core.cli.commands import app
    app({arguments!r})
"""


def interrupted(
    scan: Path, out: Path, at: int, number: signal.Signals = signal.SIGINT, into: str = "--out"
) -> subprocess.CompletedProcess:
    """Five samples of which that at `at` is interrupted by a signal."""
    arguments = ["synthesize", str(scan), "--count", "5", "--steps", "2", into, str(out)]
    code = textwrap.dedent(INTERRUPTED).format(
        paths=[str(Path(__file__).parent), str(ROOT)],
        at=at,
        number=int(number),
        arguments=arguments,
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert "Traceback" not in done.stderr and "Stopping" in done.stderr
    return done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [0, 2])
def test_ctrl_c_keeps_what_is_finished(tmp_path, at, number):
    interrupted(put_scan(tmp_path / "bag.png"), tmp_path / "out", at, number)
    if at:
        assert len(read_dataset(tmp_path / "out")) == at
    else:
        assert [path.name for path in tmp_path.iterdir()] == ["bag.png"]


@pytest.mark.parametrize("at", [0, 2])
def test_ctrl_c_keeps_an_earlier_dataset(made, tmp_path, at):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    passes("synthesize", scan, "--count", 4, "--steps", 1, "--out", out)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    done = interrupted(scan, out, at)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    partial = tmp_path / "out-partial"
    if at:
        assert done.stdout == f"{partial}/annotations/instances.json\n"
        assert f"{out} stays as it was" in done.stderr
        assert len(read_dataset(partial)) == at
    else:
        assert {path.name for path in tmp_path.iterdir()} == {"bag.png", "out"}


@pytest.mark.parametrize("command", ["synthesize", "export", "simulate"])
def test_help_says_that_an_earlier_dataset_is_replaced(monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "300")
    assert "replaced as a whole" in " ".join(passes(command, "--help").stdout.split())


def test_every_setting_reaches_the_request_and_the_occlusion(made, monkeypatch, tmp_path):
    scan, out, occluded = put_scan(tmp_path / "bag.png"), tmp_path / "out", []
    occlude = MadeSynthesizer.occlude

    def spy(self, painting, *settings):
        occluded.append(settings)
        return occlude(self, painting, *settings)

    monkeypatch.setattr(MadeSynthesizer, "occlude", spy)
    asked = {
        "seed": 5, "steps": 3, "guidance": 4.5, "sampler": "dpm++", "frame": "whole",
        "background": "repaint", "points": "topk", "divisions": 2, "alpha": 0.4,
        "occlusion": "pixel", "occluder": 3, "placement": 8,
    }  # fmt: skip
    options = [word for name, value in asked.items() for word in (f"--{name}", value)]
    common = ("synthesize", scan, "--category", "Gun", "--box", "10,10,60,60", "--out", out)
    passes(*common, *options, "--no-occlude")
    (line,) = lines(out)
    assert asked.items() <= line["settings"].items() and line["settings"]["occlude"] is False
    passes(*common, *options, "--count", 2)
    assert [line["settings"]["occlude"] for line in lines(out)] == [True, True]
    assert occluded == [(0.4, 3, placement, "pixel", on) for placement, on in (
        (8, False), (8, True), (9, True)
    )]  # fmt: skip


def test_categories_and_places_left_out_are_drawn_anew_for_each_sample(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    common = ("synthesize", scan, "--count", 12, "--steps", 1, "--out", out)

    def painted() -> list[dict]:
        return [entry for line in lines(out) for entry in line["objects"]]

    passes(*common, "--box", "10,10,60,60")
    assert {entry["category"] for entry in painted()} == {"Bullet", "Lighter"}
    passes(*common)
    assert len({(entry["category"], *entry["grounding"]) for entry in painted()}) > 2
    first = lines(out)
    passes(*common)
    assert lines(out) == first


def test_items_left_to_choose_their_places_keep_clear_of_each_other(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    two = ("--category", "Hammer", "--category", "Hammer", "--count", 20)
    passes("synthesize", scan, *two, "--steps", 1, "--out", out)
    places = [[tuple(entry["grounding"]) for entry in line["objects"]] for line in lines(out)]
    # one region alone is of a hammer's size
    assert all(first == REGIONS[1] != second for first, second in places)
    assert {second for _, second in places} == {REGIONS[0], REGIONS[2]}


def test_after_the_last_seed_comes_the_first(made, tmp_path):
    scan, out, last = put_scan(tmp_path / "bag.png"), tmp_path / "out", 2**31 - 1
    seeds = ("--seed", last, "--placement", last, "--count", 2)
    passes("synthesize", scan, *seeds, "--steps", 1, "--out", out)
    found = [(line["seed"], line["settings"]["placement"]) for line in lines(out)]
    assert found == [(last, last), (0, 0)]


def seeds(workspace: Path, state: str = "pending") -> list[int]:
    with Workspace(workspace, create=False) as opened:
        return [opened.load(record.id).request.seed for record in opened.records(state)]


def test_samples_wait_in_a_workspace(made, tmp_path):
    names = {1: "Gun", 2: "Scissors"}
    file = put_dataset(tmp_path / "set", 2, [(1, 1, [10, 10, 50, 60])], names)
    work = tmp_path / "work"
    common = ("synthesize", file, "--steps", 1, "--workspace", work)
    result = passes(*common, "--count", 4, "--seed", 3)
    assert result.stdout == f"{work}\n"
    assert "Stored without a decision: 4 samples." in result.stderr
    assert f"python app.py --workspace {work}" in result.stderr
    assert seeds(work) == [3, 4, 5, 6]
    # what is there, decided on or not, is not made again; other settings are another sample
    with Workspace(work) as opened:
        opened.decide(1, "reject")
    result = passes(*common, "--count", 4, "--seed", 3)
    assert "not made again: 4" in result.stderr
    assert "Stored without a decision: 0 samples." in result.stderr
    passes(*common, "--count", 4, "--seed", 3, "--alpha", 0.5)
    assert seeds(work) == [4, 5, 6, 3, 4, 5, 6] and seeds(work, "reject") == [3]
    with Workspace(work) as opened:
        opened.decide(2, "accept")
        assert [known.category for known in opened.load(2).kept] == ["Gun"]
    passes("export", work, "--out", tmp_path / "out")
    (line,) = lines(tmp_path / "out")
    assert (line["seed"], line["decision"]) == (4, "accept")


def test_a_sample_of_other_labels_or_weights_is_another_one(made, monkeypatch, tmp_path):
    scan, work = put_scan(tmp_path / "bag.png"), tmp_path / "work"
    item = ("--category", "Knife", "--box", "300,20,420,150")
    common = ("synthesize", scan, *item, "--steps", 1, "--workspace", work)
    passes(*common)
    labels = tmp_path / "bag.txt"
    labels.write_text("bag.png Gun 10 10 60 60\n")
    passes(*common, "--annotations", labels)
    monkeypatch.setattr(MadeSynthesizer, "fingerprint", "01")
    passes(*common)
    result = passes(*common)
    assert "not made again: 1" in result.stderr and seeds(work) == [0, 0, 0]


def test_a_stopped_run_into_a_workspace_goes_on(made, tmp_path):
    scan, work = put_scan(tmp_path / "bag.png"), tmp_path / "work"
    done = interrupted(scan, work, 2, into="--workspace")
    assert done.stdout == f"{work}\n"
    assert "Stored without a decision: 2 samples." in done.stderr
    assert seeds(work) == [0, 1]
    result = passes("synthesize", scan, "--count", 5, "--steps", 2, "--workspace", work)
    assert "Stored without a decision: 3 samples." in result.stderr
    assert seeds(work) == [0, 1, 2, 3, 4]


def test_what_cannot_be_made_is_told_and_the_rest_stored(made, tmp_path):
    file = put_dataset(tmp_path / "set", 2, [], {1: "Gun"})
    (tmp_path / "set" / "images" / "1.png").write_bytes(b"no image")
    work = tmp_path / "work"
    common = ("synthesize", file, "--steps", 1, "--workspace", work)
    result = passes(*common, "--count", 2)
    assert "could not be made" in result.stderr
    assert "Stored without a decision: 1 sample." in result.stderr
    (tmp_path / "set" / "images" / "2.png").write_bytes(b"no image")
    fails("Not one sample could be made", *common, "--count", 2)
    assert len(seeds(work)) == 1


def test_a_workspace_among_the_scans_is_none_of_them(made, tmp_path):
    put_scan(tmp_path / "bag.png")
    work = tmp_path / "my work"
    for there in (0, 1):
        result = passes("synthesize", tmp_path, "--steps", 1, "--workspace", work)
        assert f"Stored without a decision: {counted(1 - there, 'sample')}." in result.stderr
        assert f"--workspace '{work}'" in result.stderr
        assert ("workspaces inside, left out: 1 (the first: my work)" in result.stderr) == there
    assert seeds(work) == [0]


def test_samples_go_to_one_place(no_models, tmp_path):
    scan = put_scan(tmp_path / "bag.png")
    both = ("--out", tmp_path / "out", "--workspace", tmp_path / "work")
    fails("either --out", "synthesize", scan)
    fails("either --out", "synthesize", scan, *both)
    fails("--val", "synthesize", scan, "--val", 0.2, "--workspace", tmp_path / "work")
    fails("is a file", "synthesize", scan, "--workspace", scan)
    assert [path.name for path in tmp_path.iterdir()] == ["bag.png"]
