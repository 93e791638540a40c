"""Measures on a folder of scans with annotations and pixel masks."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from real_folder import write_scans

from xsyn_core.boxes import of_mask
from xsyn_core.errors import XsynError
from xsyn_core.evaluation import segmenting
from xsyn_core.evaluation.real import read_real_scans


class Boxes:
    """A segmenter whose mask is the box it is given; it finds as many things as asked for."""

    def __init__(self, found=0):
        self.found = found

    def embed(self, image):
        return image.shape[:2]

    def segment(self, size, box):
        mask = np.zeros(size, bool)
        x1, y1, x2, y2 = map(int, box)
        mask[y1:y2, x1:x2] = True
        return SimpleNamespace(mask=mask)

    def everything(self, image):
        segments = []
        for k in range(self.found):
            mask = np.zeros(image.shape[:2], bool)
            mask[: 20 + k, : 20 + k] = True
            segments.append(SimpleNamespace(mask=mask, box=of_mask(mask), area=int(mask.sum())))
        return segments


def test_masks_are_compared_item_by_item(tmp_path):
    write_scans(tmp_path)
    found = segmenting.segmenter_real(Boxes(), read_real_scans(tmp_path))
    assert found["objects"] == 2
    # An ellipse fills pi / 4 of its box, the knife all of it.
    assert found["IoU from a box"] == pytest.approx((np.pi / 4 + 1) / 2, abs=0.02)


def test_idle_regions_are_looked_for_on_benign_scans(tmp_path):
    write_scans(tmp_path)
    real = read_real_scans(tmp_path)
    assert real.benign == ("benign_a.png", "benign_b.png") and len(real.names) == 4
    for count, some, many in ((0, 0, 0), (2, 0, 0), (3, 1, 0), (7, 1, 1)):
        found = segmenting.idle_real(Boxes(count), real)
        assert (found["with idle regions"], found["with five or more"]) == (some, many)
        assert found["scans"] == 2


def test_masks_iou():
    a = np.zeros((4, 4), bool)
    assert segmenting.mask_iou(a, a) == 0
    a[:2] = True
    assert segmenting.mask_iou(a, a) == 1
    assert segmenting.mask_iou(a, np.ones((4, 4), bool)) == 0.5


def test_folders_that_cannot_be_measured_on(tmp_path):
    with pytest.raises(XsynError, match=r"no .*annotations\.json.*Give a folder"):
        read_real_scans(tmp_path)
    content = write_scans(tmp_path / "scans")
    file = tmp_path / "scans" / "annotations.json"
    for broken in ("{", "[]", 200_000 * "[", json.dumps({**content, "images": [{"id": 3}]})):
        file.write_text(broken)
        with pytest.raises(XsynError, match="not a COCO file"):
            read_real_scans(tmp_path / "scans")
    file.write_text(json.dumps({**content, "images": content["images"][2:]}))
    with pytest.raises(XsynError, match="no scan without boxes"):
        read_real_scans(tmp_path / "scans")


def test_masks_that_cannot_be_used(tmp_path):
    write_scans(tmp_path)
    real = read_real_scans(tmp_path)
    mask = tmp_path / "masks" / "threat.png"
    cv2.imwrite(str(mask), np.ones((10, 10), np.uint8))
    with pytest.raises(XsynError, match="does not fit its scan of 160 x 120"):
        list(real.masked())
    mask.unlink()
    with pytest.raises(XsynError, match=r"pixel mask.*--only"):
        list(real.masked())
