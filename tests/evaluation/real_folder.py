"""A made-up folder of real scans with annotations and pixel masks."""

import json

import cv2
import numpy as np

GUN, KNIFE = (20, 30, 60, 40), (90, 20, 24, 80)


def write_scans(folder):
    """Two benign scans, one not annotated, and one with a round gun and a square knife."""
    names = ["benign_a.png", "benign_b.png", "unknown.png", "threat.png"]
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for name in names:
        pixels = np.full((120, 160, 3), 230, np.uint8)
        pixels[30:70, 20:80] = (90, 60, 40)
        cv2.imwrite(str(folder / "images" / name), pixels)
    mask = np.zeros((120, 160), np.uint8)
    cv2.ellipse(mask, (50, 50), (30, 20), 0, 0, 360, 1, -1)
    mask[20:100, 90:114] = 2
    cv2.imwrite(str(folder / "masks" / "threat.png"), mask)
    content = {
        "categories": [{"id": 7, "name": "Gun"}, {"id": 11, "name": "Knife"}],
        "images": [
            {"id": k, "file_name": name, "annotated": name != "unknown.png"}
            for k, name in enumerate(names)
        ],
        "annotations": [
            {"image_id": 3, "category_id": 7, "bbox": GUN},
            {"image_id": 3, "category_id": 11, "bbox": KNIFE},
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return content
