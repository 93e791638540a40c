"""Bags, contents and packed scenes."""

import cv2
import numpy as np
import pytest

from xsyn_core.errors import XsynError
from xsyn_core.simulation.bags import BAGS
from xsyn_core.simulation.contents import CONTENTS
from xsyn_core.simulation.items import ITEMS
from xsyn_core.simulation.materials import MATERIALS
from xsyn_core.simulation.rendering import bounds, transform
from xsyn_core.simulation.scene import item_window, random_scene


def _flat(scene):
    numbers = [np.array(scene.view), scene.bag.interior]
    for part in scene.bag.parts:
        numbers += [part.outline, np.array([part.thickness])]
    for p in (*scene.contents, *scene.prohibited):
        numbers.append(np.array([p.x, p.y, p.angle, p.tilt, p.tilt_axis, p.mirror]))
        numbers += [part.outline for part in p.item.parts]
    return np.concatenate([n.ravel() for n in numbers])


def _points(placement):
    matrix, _ = transform(placement)
    outlines = np.concatenate([part.outline for part in placement.item.parts])
    return outlines @ matrix[:, :2].T + matrix[:, 2]


def _check_parts(parts):
    assert parts
    for part in parts:
        assert part.material in MATERIALS
        assert part.thickness > 0
        assert part.profile in ("slab", "round", "bevel", "shell")
        assert part.profile not in ("bevel", "shell") or part.edge > 0
        for outline in (part.outline, *part.holes):
            assert outline.ndim == 2 and outline.shape[1] == 2 and len(outline) >= 3
            assert np.isfinite(outline).all()


@pytest.mark.parametrize("kind", CONTENTS)
def test_contents_build(kind):
    for seed in range(4):
        item = CONTENTS[kind](np.random.default_rng(seed))
        assert item.name == kind
        _check_parts(item.parts)
        extent = np.ptp(np.concatenate([p.outline for p in item.parts]), axis=0)
        assert 15 < extent.max() < 700


@pytest.mark.parametrize("kind", BAGS)
def test_bags_build(kind):
    for seed in range(4):
        bag = BAGS[kind](np.random.default_rng(seed))
        assert bag.name == kind
        _check_parts(bag.parts)
        points = np.concatenate([p.outline for p in bag.parts])
        assert (bag.interior.min(0) >= points.min(0)).all()
        assert (bag.interior.max(0) <= points.max(0)).all()
        assert cv2.contourArea(bag.interior.astype(np.float32)) > 10_000


def test_same_seed_same_scene():
    kinds, before = set(), []
    for seed in range(80):
        one, two = (random_scene(np.random.default_rng(seed), ["Gun"]) for _ in range(2))
        np.testing.assert_array_equal(_flat(one), _flat(two))
        assert _flat(one).tolist() != before
        before = _flat(one).tolist()
        kinds.add(one.bag.name)
    assert kinds == set(BAGS)


@pytest.mark.parametrize("seed", range(40))
def test_things_lie_in_the_bag_and_the_view(seed):
    rng = np.random.default_rng(seed)
    names = list(rng.choice(list(ITEMS), size=int(rng.integers(0, 4))))
    scene = random_scene(rng, names)
    assert [p.item.name for p in scene.prohibited] == names
    hull = cv2.convexHull(scene.bag.interior.astype(np.float32))
    x1, y1, x2, y2 = scene.view
    assert x2 - x1 == pytest.approx(y2 - y1)
    for p in (*scene.contents, *scene.prohibited):
        points = _points(p).astype(np.float32)
        inside = [cv2.pointPolygonTest(hull, tuple(map(float, q)), True) for q in points]
        assert min(inside) > -2.0, p.item.name
        assert (points >= (x1, y1)).all() and (points <= (x2, y2)).all()
        assert 0 <= p.tilt <= 70
    for part in scene.bag.parts:
        assert (part.outline >= (x1, y1)).all() and (part.outline <= (x2, y2)).all()


@pytest.mark.parametrize("category", ITEMS)
def test_every_category_can_be_asked_for(category):
    scene = random_scene(np.random.default_rng(3), [category, category])
    assert [p.item.name for p in scene.prohibited] == [category] * 2
    assert category not in {p.item.name for p in scene.contents}


def test_what_is_asked_for_is_not_among_the_contents():
    names = ["Laptop", "Mobile_Phone", "Tablet", "Water", "Cosmetic"]
    for seed in range(25):
        scene = random_scene(np.random.default_rng(seed), names)
        assert not {*names} & {p.item.name for p in scene.contents}


def test_unknown_names_are_told():
    with pytest.raises(XsynError, match="Spoon"):
        random_scene(np.random.default_rng(0), ["Spoon"])


@pytest.mark.parametrize("seed", range(30))
def test_windows_hold_their_item(seed):
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, ["Knife", "Bullet", "Baton"])
    for p in scene.prohibited:
        low_x, low_y, high_x, high_y = bounds(p)
        extent = max(high_x - low_x, high_y - low_y)
        x1, y1, x2, y2 = item_window(scene, p, rng)
        side = x2 - x1
        assert side == pytest.approx(y2 - y1)
        assert x1 <= low_x and y1 <= low_y and x2 >= high_x and y2 >= high_y
        assert side <= max(2.2 * extent, 60.0) + 1e-6
        assert x1 >= scene.view[0] - 1e-6 and x2 <= scene.view[2] + 1e-6
        whole = scene.view[2] - scene.view[0]
        assert side >= min(1.4 * extent, whole) - 1e-6
