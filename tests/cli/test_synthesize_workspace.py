"""`synthesize` into a workspace, with a stand-in for the models."""

from pathlib import Path

from calling import fails, interrupted, lines, passes, put_dataset, put_scan
from made_synthesizer import MadeSynthesizer

from xsyn_core.curation.coco import counted
from xsyn_core.curation.workspace import Workspace


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
