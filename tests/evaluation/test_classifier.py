"""The judge: its classes, its crops and its weights file."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from xsyn_core.categories import CATALOGS
from xsyn_core.errors import XsynError
from xsyn_core.evaluation import classifier
from xsyn_core.evaluation.classifier import CLASSES, CROP, Classifier, class_of


def test_every_category_has_a_class_and_pidray_has_the_first_twelve():
    assert CLASSES[:12] == CATALOGS["pidray"].names
    assert set(CLASSES[12:]) == {"Water", "Laptop", "Mobile_Phone", "Tablet", "Cosmetic"}
    for catalog in CATALOGS.values():
        for name in catalog.names:
            assert 0 <= class_of(name) < len(CLASSES)
    assert class_of("Utility_Knife") == class_of("Knife") == 10
    assert class_of("Scissor") == class_of("Scissors")
    assert class_of("Tablet") not in (class_of("Laptop"), class_of("Mobile_Phone"))


def test_crops_are_of_the_windows_own_items():
    names = [name for catalog in CATALOGS.values() for name in catalog.names]
    images = np.zeros((3, 256, 256, 3), np.uint8)
    images[1, 64:192, 64:192] = 200
    shard = SimpleNamespace(
        images=images,
        plain=images // 2 + 90,
        whole=np.array([True, False, False]),
        categories=np.array([[0, -1], [names.index("Laptop"), 0], [-1, 0]]),
        boxes=np.array([[[0, 0, 9, 9]] * 2, [[64, 64, 192, 192]] * 2, [[0, 0, 9, 9]] * 2], float),
    )
    crops, classes = classifier.item_crops([shard], 0.0, np.random.default_rng(0))
    assert classes.tolist() == [CLASSES.index("Laptop")] * 2
    # The item and a margin of a tenth of it on every side, in its clutter and without.
    assert crops[:, CROP // 2, CROP // 2, 0].tolist() == [200, 190]
    for crop, level in zip(crops, (100, 140), strict=True):
        bright = crop[CROP // 2, :, 0] > level
        assert bright.sum() == pytest.approx(CROP / 1.2, abs=2)


def test_features_are_what_the_last_layer_reads():
    torch.manual_seed(0)
    judge = Classifier().eval()
    crops = np.random.default_rng(0).integers(0, 256, (3, CROP, CROP, 3), np.uint8)
    features = classifier.features(judge, crops)
    assert features.shape == (3, 192)
    with torch.inference_mode():
        torch.testing.assert_close(
            judge.head(torch.from_numpy(features)), judge(classifier.tensor(crops))
        )


def test_a_judge_reads_an_item_in_all_its_attitudes():
    torch.manual_seed(0)
    judge = Classifier().eval()
    torch.nn.init.normal_(judge.head.weight, std=5)
    crops = np.random.default_rng(0).integers(0, 256, (6, CROP, CROP, 3), np.uint8)
    crops[:, : CROP // 3] //= np.arange(1, 7, dtype=np.uint8)[:, None, None, None]
    right = []
    for crop in crops:
        attitudes = [np.rot90(c, k) for c in (crop, crop[::-1]) for k in range(4)]
        with torch.inference_mode():
            readings = judge(classifier.tensor(np.stack(attitudes))).softmax(1).log()
        right.append(int(readings.sum(0).argmax()))
    assert classifier.predict(judge, crops).tolist() == right
    assert len(set(right)) > 1
    turned = np.ascontiguousarray(np.rot90(crops, 1, (1, 2))[:, :, ::-1])
    assert classifier.predict(judge, turned).tolist() == right


def test_weights_that_do_not_fit_say_what_to_do(tmp_path):
    file = tmp_path / "judge.safetensors"
    with pytest.raises(XsynError, match="train classifier"):
        classifier.load(file)
    state = {k: v.half().contiguous() for k, v in Classifier().state_dict().items()}
    save_file(state, file)
    assert not classifier.load(file).training
    fewer = {k: v[:12].contiguous() if k.startswith("head") else v for k, v in state.items()}
    save_file(fewer, file)
    with pytest.raises(XsynError, match=r"12 classes.*train classifier"):
        classifier.load(file)
    save_file({k: v for k, v in state.items() if not k.startswith("stem")}, file)
    with pytest.raises(XsynError, match="not the judge's"):
        classifier.load(file)
    file.write_bytes(b"nonsense")
    with pytest.raises(XsynError, match=r"cannot be read.*train classifier"):
        classifier.load(file)
