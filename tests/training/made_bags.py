"""Scans of flat colours with annotations, to fine-tune on."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from xsyn_core import boxes

NAMES = ("Knife", "Gun", "slingshot")

SIZE = (80, 96)

# Scan by scan: (category, box). The last one is smaller than any catalogue keeps.
OBJECTS = (
    (("Knife", (20, 20, 50, 40)), ("Gun", (40, 42, 58, 53))),
    (("Gun", (10, 40, 50, 70)),),
    (("slingshot", (60, 10, 90, 30)), ("Knife", (5, 5, 9, 6))),
    (("Knife", (30, 30, 70, 60)),),
)

COLOURS = {"Knife": (40, 60, 200), "Gun": (20, 120, 30), "slingshot": (220, 120, 30)}


def put_dataset(folder: Path, masks: bool = False, objects=OBJECTS) -> Path:
    """Scans of flat colours with COCO annotations; masks are the left halves of the boxes."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, own in enumerate(objects, start=1):
        pixels = np.full((*SIZE, 3), 250 - number, np.uint8)
        for name, (x1, y1, x2, y2) in own:
            pixels[y1:y2, x1:x2] = COLOURS[name]
            middle = (x1 + x2) // 2
            polygon = [[x1, y1, middle, y1, middle, y2, x1, y2]] if masks else []
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": NAMES.index(name) + 1,
                    "bbox": boxes.to_xywh((x1, y1, x2, y2)),
                    "segmentation": polygon,
                }
            )
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        images.append(
            {"id": number, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]}
        )
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES, start=1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder
