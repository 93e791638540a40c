"""What finishing is said to add, with a painter of known pictures."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from test_painting import Judge, level

from xsyn_core.boxes import iou
from xsyn_core.evaluation.finishing import detail, finishing
from xsyn_core.evaluation.held_out import Case
from xsyn_core.extent import silhouette, visible_box
from xsyn_core.painting import Progress

BOX = (40.0, 60.0, 200.0, 180.0)


def flat(value):
    return np.full((256, 256, 3), value, np.uint8)


def striped(value, width):
    """An item of stripes in the box."""
    image = flat(250)
    image[60:180, 40:200] = 250 - value * (np.arange(160) // width % 2)[None, :, None]
    return image


def test_detail_is_what_a_blur_takes_away():
    rng = np.random.default_rng(0)
    benign = rng.integers(60, 255, (256, 256, 3)).astype(np.uint8)
    image = benign.copy()
    image[60:180, 40:200] = image[60:180, 40:200] * rng.uniform(0.2, 1, (120, 160, 1))
    change = image.astype(float) - benign
    change = change[60:180, 40:200]
    kernel = np.exp(-0.5 * np.arange(-4, 5.0) ** 2)
    kernel /= kernel.sum()
    blurred = np.pad(change, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    blurred = sum(kernel[k] * blurred[k : k + 120] for k in range(9))
    blurred = sum(kernel[k] * blurred[:, k : k + 160] for k in range(9))
    expected = np.sqrt(((change - blurred) ** 2).mean() / (change**2).mean())
    assert detail(image, benign, BOX) == pytest.approx(expected, rel=1e-2)
    assert detail(benign, benign, BOX) == 0
    # what changes evenly has no detail, and the scan's own does not count
    assert detail(benign // 2 + 20, benign // 2, BOX) == pytest.approx(0, abs=1e-5)


@dataclass(frozen=True)
class Made:
    clear: np.ndarray
    objects: tuple = ()


class Painter:
    """Paints wide stripes, finished to narrow ones, but does not finish knives."""

    def paint(self, scan, request):
        (asked,) = request.groundings
        yield Progress(1, request.steps, flat(1))
        coarse = cv2.GaussianBlur(striped(100, 4), (0, 0), 2)
        if asked.category == "Knife":
            yield Progress(2, 2, coarse, Made(coarse))
            return
        yield Progress(2, 3, coarse)
        fine = flat(level("Gun")) if asked.category == "Gun" else striped(100, 4)
        yield Progress(3, 3, fine, Made(fine))

    def refine(self, painting):
        """The left half of the box where there are stripes, else the upper half of the picture."""
        striped = (painting.clear[0, 0] == 250).all()
        half = (40.0, 60.0, 120.0, 180.0) if striped else (0.0, 0.0, 256.0, 128.0)
        return replace(painting, objects=(SimpleNamespace(refined=half),))


def test_items_as_painted_and_as_finished_are_compared_with_simulated_ones():
    def case(category):
        mask = np.ones((256, 256), bool)
        return Case(category, striped(200, 4), flat(250), mask, BOX, BOX)

    cases = [case("Gun"), case("Knife"), case("Laptop")]
    found, sheet = finishing(Judge(), Painter(), cases, steps=2, guidance=1.0)
    assert found["items"] == 2
    assert found["simulated right"] == found["painted right"] == 0
    assert found["finished right"] == 0.5
    assert found["detail, simulated, over the simulator's own"] == 1
    coarse, truth = (
        detail(x, flat(250), BOX)
        for x in (cv2.GaussianBlur(striped(100, 4), (0, 0), 2), striped(200, 4))
    )
    assert found["detail, painted, over the simulator's own"] == pytest.approx(coarse / truth)
    # one of the two has become even, the other has all the detail
    assert found["detail, finished, over the simulator's own"] == pytest.approx(0.5, abs=0.01)
    left = (40.0, 60.0, 120.0, 180.0)
    coarse, fine = (
        iou(left, visible_box(x, flat(250), BOX))
        for x in (cv2.GaussianBlur(striped(100, 4), (0, 0), 2), striped(100, 4))
    )
    assert found["IoU of CAR's box, painted"] == pytest.approx(coarse)
    # guns fill the picture once they are finished
    assert found["IoU of CAR's box, finished"] == pytest.approx((0.5 + fine) / 2)
    shown, still = (
        silhouette(x, flat(250))
        for x in (cv2.GaussianBlur(striped(100, 4), (0, 0), 2), striped(100, 4))
    )
    kept = (shown & still).sum() / shown.sum()
    assert 0.3 < kept < 1
    # nothing of the gun is lost
    assert found["share left of what was painted"] == pytest.approx((1 + kept) / 2)
    assert found["the least left of an item"] == pytest.approx(kept)
    assert sheet.shape == (256, 3 * 3 * 256, 3)
    assert finishing(Judge(), Painter(), cases[1:2], steps=2, guidance=1.0) == ({"items": 0}, None)
