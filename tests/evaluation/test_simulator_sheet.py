"""`evaluate simulator` on made-up images."""

import cv2
import numpy as np
import pytest
from PIL import Image

from xsyn_core.errors import XsynError
from xsyn_core.evaluation import simulator
from xsyn_core.evaluation.simulator import HEADER, HUES, TILE, difference, mean, statistics
from xsyn_core.simulation.looks import LOOKS


def plain(*colours):
    """Bands of equal height, 60 x 40."""
    rows = [np.full((60 // len(colours), 40, 3), colour, np.uint8) for colour in colours]
    return np.vstack(rows)


def test_air_is_the_brightest_level():
    assert statistics(plain((255, 255, 255))).air == 1
    assert statistics(plain((255, 255, 206), (90, 60, 30))).air == 0.5
    assert statistics(plain((90, 60, 30))).air == 0


def test_edges_are_the_slope_outside_air():
    ramp = np.repeat(np.arange(0, 200, 5, dtype=np.uint8)[None, :, None], 30, 0).repeat(3, 2)
    inner = statistics(ramp).edge
    assert 4.5 < inner <= 5  # OpenCV mirrors the two outer columns: they are flat
    assert statistics(plain((80, 80, 80))).edge == 0
    assert statistics(plain((255, 255, 255))).edge == 0


def test_colours_are_shares_of_hues_at_each_level():
    found = statistics(plain((200, 40, 40), (40, 40, 200), (70, 70, 70), (250, 250, 250))).colours
    assert found.shape == (5, HUES + 1)
    # Luminances: red 87.8, blue 58.1, grey 70; all of the second level.
    expected = np.zeros(HUES + 1)
    expected[[0, 8, HUES]] = 1 / 3
    np.testing.assert_allclose(found[1], expected)
    assert not found[[0, 2, 3, 4]].any()


def test_difference_and_mean():
    red, blue = statistics(plain((200, 40, 40))), statistics(plain((40, 40, 200)))
    assert difference(red, red) == 0
    assert difference(red, blue) == 1
    assert difference(red, mean([red, blue])) == pytest.approx(0.5)
    # A level that only one of them has is not compared, nor does it thin out the mean.
    darker = statistics(plain((200, 40, 40), (20, 10, 0)))
    assert difference(red, darker) == 0
    assert mean([red, darker]).colours.sum(1).tolist() == [1, 1, 0, 0, 0]
    assert difference(red, statistics(plain((255, 255, 255)))) == 1


def test_a_real_scan_counts_with_the_nearest_look():
    red, blue = statistics(plain((200, 40, 40))), statistics(plain((40, 40, 200)))
    lines = simulator.table({"warm": [red], "cold": [blue, blue]}, [blue]).splitlines()
    assert lines[2] == "| warm | 1 | 0 |  | 0.0 | 0% |"
    assert lines[3] == "| cold | 2 | 1 | 0.00 | 0.0 / 0.0 | 0% / 0% |"
    assert lines[4].startswith("| all | 3 | 1 |")


def test_sheet_has_columns_in_turn():
    black, white = plain((0, 0, 0)), plain((255, 255, 255))
    found = simulator.sheet([black] * 5, [white] * 3)
    assert found.shape == (HEADER + 2 * TILE, 6 * TILE, 3)
    middle = found[HEADER + TILE // 2, TILE // 2 :: TILE, 0]
    assert middle.tolist() == [0, 255, 0, 255, 0, 255]


def test_main_writes_and_prints(tmp_path, capsys):
    (tmp_path / "scans" / "images").mkdir(parents=True)
    for k in range(3):
        pixels = plain((255, 255, 255), (230, 150 + k, 60), (60, 90, 200))
        Image.fromarray(pixels).save(tmp_path / "scans" / "images" / f"{k}.png")
    (tmp_path / "scans" / "images" / "notes.txt").write_text("not a scan")
    out = tmp_path / "new" / "sheet.png"
    simulator.main(tmp_path / "scans", out, count=2)
    printed = capsys.readouterr().out
    assert all(f"| {look} | 1 |" in printed for look in LOOKS)
    assert f"| all | {len(LOOKS)} | 2 |" in printed
    assert cv2.imread(str(out)).shape == (HEADER + TILE, 4 * TILE, 3)
    first = out.read_bytes()
    simulator.main(tmp_path / "scans", out, count=2)
    assert out.read_bytes() == first
    with pytest.raises(XsynError, match="new is a folder"):
        simulator.main(tmp_path / "scans", out.parent)


def test_what_cannot_be_compared(tmp_path):
    with pytest.raises(XsynError, match="no images in"):
        simulator.main(tmp_path)
    with pytest.raises(XsynError, match="at least one"):
        simulator.main(tmp_path, count=0)
