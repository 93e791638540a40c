"""Files of datasets as tools write them."""

import json
from pathlib import Path

from PIL import Image

from xsyn_core.curation.readers import Dataset

W, H = 60, 40


def put_image(path: Path, size: tuple[int, int] = (W, H)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "white").save(path)
    return path


def put_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def put_coco(path: Path, names: list[str], labels: list[tuple], categories: dict[int, str]) -> Path:
    """`labels` are (image number from 0, category id, bbox, further keys)."""
    return put_text(
        path,
        json.dumps(
            {
                "images": [
                    {"id": i, "file_name": name, "width": W, "height": H}
                    for i, name in enumerate(names)
                ],
                "annotations": [
                    {"id": i, "image_id": image, "category_id": category, "bbox": box, **more}
                    for i, (image, category, box, more) in enumerate(labels)
                ],
                "categories": [{"id": i, "name": name} for i, name in categories.items()],
            }
        ),
    )


def flat(dataset: Dataset) -> dict[str, list[tuple]]:
    """What was read, by path below the second last folder."""
    return {
        "/".join(path.parts[-2:]): [(known.category, known.box) for known in annotations]
        for path, annotations in dataset
    }


OPIXRAY = {
    "train/train_annotation/009000.txt": "009000.jpg Straight_Knife 7 4 30 20\n\n",
    "train/train_annotation/009001.txt": "009001.jpg Multi-tool_Knife 1 2 3 4\n"
    "009001.jpg Scissor 5 6 17 18\n009001.jpg Scissor 5 6 5 18\nnonsense\n",
    "test/test_annotation/009000.txt": "009000.TIFF Folding_Knife 1 1 9 9\n",
}
VOC = """<annotation><filename>{name}</filename>
<size><width>{w}</width><height>{h}</height><depth>3</depth></size>
<object><name>knife</name><bndbox><xmin>1</xmin><ymin>3</ymin><xmax>10</xmax><ymax>8</ymax></bndbox>
</object>
<object><name>gun</name><bndbox><xmin>9</xmin><ymin>3</ymin><xmax>1</xmax><ymax>8</ymax></bndbox>
</object></annotation>"""
