"""The parametric prohibited items: complete, plausible, reproducible and varied."""

import numpy as np
import pytest

from xsyn_core.simulation.items import ITEMS
from xsyn_core.simulation.materials import MATERIALS

SEEDS = range(40)

# The longest extent in mm that an item of the category may have, smallest and largest.
EXTENT = {
    "Baton": (140, 700),
    "Pliers": (90, 280),
    "Hammer": (200, 420),
    "Powerbank": (65, 170),
    "Scissors": (50, 300),
    "Wrench": (90, 380),
    "Gun": (110, 420),
    "Bullet": (20, 200),
    "Sprayer": (80, 310),
    "HandCuffs": (90, 320),
    "Knife": (70, 400),
    "Lighter": (40, 110),
    "Folding_Knife": (80, 280),
    "Straight_Knife": (160, 400),
    "Scissor": (50, 300),
    "Utility_Knife": (110, 290),
    "Multi-tool_Knife": (70, 230),
    "Portable_Charger_1": (95, 170),
    "Portable_Charger_2": (65, 170),
    "Water": (170, 310),
    "Laptop": (270, 400),
    "Mobile_Phone": (130, 175),
    "Tablet": (185, 260),
    "Cosmetic": (40, 240),
    "Nonmetallic_Lighter": (50, 95),
}


def build(category, seed):
    return ITEMS[category](np.random.default_rng(seed))


def extent(item):
    points = np.concatenate([p.outline for p in item.parts])
    return points.min(0), points.max(0)


def same(a, b):
    return len(a.parts) == len(b.parts) and all(
        p.material == q.material
        and p.thickness == q.thickness
        and np.array_equal(p.outline, q.outline)
        for p, q in zip(a.parts, b.parts, strict=True)
    )


def test_the_categories_are_those_of_the_three_datasets():
    assert set(ITEMS) == set(EXTENT)


@pytest.mark.parametrize("category", EXTENT)
def test_parts_are_well_formed(category):
    for seed in SEEDS:
        item = build(category, seed)
        assert item.name == category
        assert 3 <= len(item.parts) <= 70
        for part in item.parts:
            assert part.material in MATERIALS
            assert part.profile in ("slab", "round", "bevel", "shell")
            assert 0 < part.thickness < 80
            assert part.edge > 0 or part.profile in ("slab", "round")
            assert 0 <= part.texture <= 1 and part.grain > 0
            for outline in (part.outline, *part.holes):
                assert outline.ndim == 2 and outline.shape[1] == 2 and len(outline) >= 3
                assert np.isfinite(outline).all()
            low, high = part.outline.min(0), part.outline.max(0)
            assert (high - low > 0.2).all()
            for hole in part.holes:
                assert (hole.max(0) > low).all() and (hole.min(0) < high).all()


@pytest.mark.parametrize("category", EXTENT)
def test_sizes_are_plausible_and_centred(category):
    smallest, largest = EXTENT[category]
    for seed in SEEDS:
        low, high = extent(build(category, seed))
        np.testing.assert_allclose(low, -high, atol=1e-6)
        assert smallest <= (high - low).max() <= largest


@pytest.mark.parametrize("category", EXTENT)
def test_seeds_reproduce_and_differ(category):
    for seed in range(10):
        assert same(build(category, seed), build(category, seed))
        assert not same(build(category, seed), build(category, seed + 1))


def test_a_knife_is_a_straight_folding_utility_or_multi_tool_one():
    """The kinds differ in what only they have: score lines, a brass-pinned stack, a tall blade."""
    low, high = np.stack([extent(build("Knife", seed)) for seed in range(60)], 1)
    proportion = (high - low)[:, 1] / (high - low)[:, 0]
    assert proportion.min() < 0.15 and proportion.max() > 0.5
    holes = [max(len(p.holes) for p in build("Knife", seed).parts) for seed in range(60)]
    assert max(holes) >= 4 and min(holes) == 0


@pytest.mark.parametrize(
    ("category", "make", "digit", "materials"),
    [
        ("Laptop", "", -2, ("plastic", "aluminium")),
        ("Portable_Charger_1", "", -1, ("plastic", "aluminium")),
        ("Portable_Charger_2", "", -1, ("plastic", "aluminium")),
        ("Folding_Knife", "", -1, (None, "aluminium", "steel")),
        ("Utility_Knife", "0", 2, ("plastic", "plastic", "aluminium", "aluminium")),
        ("Utility_Knife", "1", 1, ("zinc", "aluminium", "plastic")),
    ],
)
def test_the_kind_tells_what_the_body_is_of(category, make, digit, materials):
    items = [build(category, seed) for seed in SEEDS]
    told = {int(one.kind[digit]): set() for one in items if one.kind.startswith(make)}
    for one in items:
        if one.kind.startswith(make):
            # a body is drawn first
            told[int(one.kind[digit])].add(one.parts[0].material)
    assert set(told) == set(range(len(materials)))
    for number, material in enumerate(materials):
        if material is None:
            assert not told[number] & set(materials)
        else:
            assert told[number] == {material}


def test_the_kind_tells_of_a_knife_whether_its_handle_is_all_metal():
    for seed in SEEDS:
        item = build("Straight_Knife", seed)
        metal = all(part.material in ("steel", "brass") for part in item.parts)
        assert metal == (item.kind[-2] == "0")


def test_the_kind_tells_what_is_in_a_pistol():
    pistols = [one for one in (build("Gun", seed) for seed in SEEDS) if one.kind[0] == "0"]
    for item in pistols:
        assert any(p.material == "plastic" and p.thickness >= 20 for p in item.parts) == (
            item.kind[1] == "1"
        )
        assert any(p.material == "brass" for p in item.parts) == (item.kind[2] == "2")
    assert {one.kind[2] for one in pistols} == {"0", "1", "2"}
