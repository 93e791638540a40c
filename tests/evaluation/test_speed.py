"""`evaluate speed` runs and prints every row; nothing here is timed."""

import json
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from xsyn_core.errors import XsynError
from xsyn_core.evaluation import speed

WHAT = (
    *("regions of a new scan", "the same, stock generator", "stock generator / ours"),
    *("stock regions that ours matches", "an item of 2 steps", "its refined label (CAR)"),
    *(
        "alpha moved to new picture",
        "an item beside an idle thread",
        "attention capture",
        "start of the process to page up",
    ),
    *("UNet", "encode", "decode", "SAM encoder", "SAM decoder", "upsampling", "rest"),
)
UNITS = ["s", "s", "x", "%", "s", "s", "ms", "x", "%", "s"]
SERVER = """
import http.server, sys
http.server.HTTPServer(
    ("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler
).serve_forever()
"""


def test_every_row_is_printed(tiny_files, drawn_scan, tmp_path, capsys, monkeypatch):
    started = []
    monkeypatch.setattr(speed, "page_up", lambda command: started.append(command) or 2.0)
    Image.fromarray(drawn_scan.pixels).save(tmp_path / "bag.png")
    folder, sam = map(str, tiny_files)
    report = tmp_path / "new" / "speed.json"
    speed.main(tmp_path / "bag.png", folder, sam, "cpu", steps=2, repeats=1, out=report)
    printed = capsys.readouterr().out
    for what in WHAT:
        assert what in printed
    found = json.loads(report.read_text())
    assert [row["unit"] for row in found["rows"]] == UNITS
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert found["scan"] == {"name": "bag.png", "height": 240, "width": 320}
    command = started[0](1234, tmp_path)
    assert command[1:4] == ["app.py", "--port", "1234"] and command[-3:] == [folder, "--sam", sam]


def test_the_other_thread_lives_as_long_as_it_is_wanted():
    before = threading.active_count()
    with speed.another_thread():
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_memory_is_told_on_cuda_alone(monkeypatch):
    log, peaks = [], iter([5_500_000_000, 8_250_000_000])
    ran = SimpleNamespace(
        paint=lambda *_: iter([log.append("paint")]), synthesize=lambda *_: log.append("all")
    )
    monkeypatch.setattr(speed, "Synthesizer", lambda models: ran)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: log.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: next(peaks))
    weights = [
        SimpleNamespace(numel=lambda: 500_000_000, element_size=lambda: 4, device=device)
        for device in map(torch.device, ("cuda", "cpu"))
    ]

    def rows(device):
        diffusion = SimpleNamespace(device=torch.device(device), side=512)
        segmenter = SimpleNamespace(sam=SimpleNamespace(parameters=lambda: weights))
        models = SimpleNamespace(diffusion=diffusion, segmenter=segmenter)
        return speed.memory_rows(models, None, None)

    assert rows("cpu") == [] and log == []
    found = rows("cuda")
    assert [(row.value, row.unit) for row in found] == [(3.5, "GB"), (8.25, "GB")]
    assert "512 x 512" in found[0].note and "SAM included" in found[1].what
    assert log == ["reset", "paint", "reset", "all"]


def test_a_page_is_waited_for(tmp_path):
    assert speed.page_up(lambda port, _: [sys.executable, "-c", SERVER, str(port)]) > 0
    with pytest.raises(XsynError, match=r"python app\.py"):
        speed.page_up(lambda *_: [sys.executable, "-c", "raise SystemExit(1)"])


def test_matched_regions():
    mask = np.zeros((40, 40), bool)
    mask[:20] = True
    other, near = ~mask, mask.copy()
    near[20, :30] = True  # 800 of 830: IoU 0.96
    assert speed.matched([mask, other], [near]) == 0.5
    assert speed.matched([mask], [mask[::-1]]) == 0
    assert speed.matched([mask], []) == 0
    assert speed.matched([], [mask]) == 1


def test_no_repeat_is_refused():
    with pytest.raises(XsynError, match="at least one repeat"):
        speed.main(repeats=0)


def test_where_numbers_cannot_go_is_told_before_models_are_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "load_models", None)
    with pytest.raises(XsynError, match="is a folder"):
        speed.main(out=tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(XsynError, match=r"speed\.json cannot be written"):
        speed.main(out=tmp_path / "file" / "speed.json")
