import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsyn_core.simulation.parts import Item, Part, Placement, ellipse, rectangle
from xsyn_core.simulation.physics import coefficients
from xsyn_core.simulation.rendering import attenuation, bounds, middle, silhouette

VIEW = (-50.0, -50.0, 50.0, 50.0)
SIZE = (200, 200)  # 2 px a mm


def rng(seed=0):
    return np.random.default_rng(seed)


def thickness(objects, material="steel", view=VIEW, size=SIZE):
    """mm of one material along each ray."""
    return attenuation(objects, view, size, rng())[1] / coefficients(material)[1]


def centres(view=VIEW, size=SIZE):
    x = view[0] + (np.arange(size[1]) + 0.5) * (view[2] - view[0]) / size[1]
    y = view[1] + (np.arange(size[0]) + 0.5) * (view[3] - view[1]) / size[0]
    return np.meshgrid(x, y)


def test_slab_is_as_thick_as_it_says_and_nothing_else():
    mm = thickness([Part(rectangle(40, 20, 5, -10), "steel", 3.0)])
    x, y = centres()
    inside = (abs(x - 5) < 19) & (abs(y + 10) < 9)
    outside = (abs(x - 5) > 21) | (abs(y + 10) > 11)
    assert mm[inside] == pytest.approx(3, rel=0.02)
    assert not mm[outside].any()
    assert mm.sum() / 4 == pytest.approx(40 * 20 * 3, rel=0.03)


def test_both_maps_follow_the_material():
    maps = attenuation([Part(ellipse(30, 20), "glass", 4, "round")], VIEW, SIZE, rng())
    p, c = coefficients("glass")
    assert maps[0] * c == pytest.approx(maps[1] * p, rel=1e-4, abs=1e-6)


def test_rod_has_the_chords_of_a_cylinder():
    mm = thickness([Part(rectangle(200, 30), "steel", 30.0, "round")])
    _, y = centres()
    chord = 2 * np.sqrt(np.maximum(15**2 - y**2, 0))
    middle = np.s_[:, 60:140]
    assert mm[middle] == pytest.approx(chord[middle], abs=2.0)  # half a pixel of the rim
    assert mm[middle].sum() == pytest.approx(chord[middle].sum(), rel=0.03)


def test_ball_has_the_chords_of_a_sphere():
    mm = thickness([Part(ellipse(60, 60, points=160), "steel", 60.0, "round")])
    x, y = centres()
    chord = 2 * np.sqrt(np.maximum(30**2 - x**2 - y**2, 0))
    well_inside = x**2 + y**2 < 27**2
    assert mm[well_inside] == pytest.approx(chord[well_inside], abs=2.5)


def test_a_handle_is_thinner_than_the_barrel_it_belongs_to():
    outline = np.array(
        [[-45, -4], [0, -4], [0, -16], [45, -16], [45, 16], [0, 16], [0, 4], [-45, 4]], float
    )
    mm = thickness([Part(outline, "wood", 32.0, "round")], "wood")
    assert mm[100, 40] == pytest.approx(8, rel=0.2)
    assert mm[100, 150] == pytest.approx(32, rel=0.05)


def test_bevel_rises_over_its_edge():
    mm = thickness([Part(rectangle(60, 60), "steel", 6.0, "bevel", edge=10.0)])
    row = mm[100]
    x = centres()[0][0]
    expected = 6 * np.clip((30 - abs(x)) / 10, 0, 1)
    assert row == pytest.approx(expected, abs=0.35)


def test_shell_has_a_wall_four_times_as_thick_as_its_faces():
    mm = thickness([Part(rectangle(60, 60), "steel", 2.0, "shell", edge=5.0)])
    assert mm[100, 100] == pytest.approx(2, rel=0.02)
    assert mm[100, 45] == pytest.approx(8, rel=0.02)  # 2.5 mm from the outline


def test_holes_are_empty():
    mm = thickness([Part(rectangle(60, 60), "steel", 2.0, holes=(ellipse(30, 30),))])
    x, y = centres()
    assert not mm[np.hypot(x, y) < 14].any()
    assert mm[(np.hypot(x, y) > 16) & (abs(x) < 29) & (abs(y) < 29)] == pytest.approx(2, rel=0.02)


def test_hair_keeps_its_mass():
    # A tenth of a pixel wide.
    mm = thickness([Part(rectangle(80, 0.2), "steel", 1.0)])
    assert 0.5 < mm.sum() / 4 / 16 < 3.2
    wire = thickness([Part(rectangle(80, 0.8), "steel", 1.0)])
    assert wire.sum() / 4 == pytest.approx(64, rel=0.25)


items = st.builds(
    lambda w, h, profile, texture: Part(ellipse(w, h), "steel", 2.0, profile, 3.0, texture=texture),
    st.floats(2, 60),
    st.floats(2, 60),
    st.sampled_from(["slab", "round", "bevel", "shell"]),
    st.sampled_from([0.0, 0.5]),
)
placements = st.builds(
    lambda part, x, y, angle, tilt, axis, mirror: Placement(
        Item("thing", (part,)), x, y, angle, tilt, axis, mirror
    ),
    items,
    st.floats(-60, 60),
    st.floats(-60, 60),
    st.floats(0, 360),
    st.floats(0, 70),
    st.floats(0, 180),
    st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(placements, max_size=4), placements)
def test_scenes_add(background, item):
    both = attenuation([*background, item], VIEW, (64, 64), rng(5))
    first = rng(5)
    alone = attenuation(background, VIEW, (64, 64), first)
    # The generator goes on where the background's textures left it.
    added = alone + attenuation([item], VIEW, (64, 64), first)
    assert both == pytest.approx(added, rel=1e-4, abs=1e-5)
    assert np.array_equal(both, attenuation([*background, item], VIEW, (64, 64), rng(5)))


@settings(max_examples=25, deadline=None)
@given(placements)
def test_a_window_shows_what_the_whole_view_shows(placement):
    whole = attenuation([placement], (-64, -64, 64, 64), (128, 128), rng(1))[1]
    window = attenuation([placement], (-16, -16, 16, 16), (128, 128), rng(1))[1]
    part = whole[48:80, 48:80]
    shrunk = window.reshape(32, 4, 32, 4).mean((1, 3))
    difference = abs(shrunk - part)
    # They differ at edges only, where one picture is coarser than the other.
    assert np.median(difference) <= 0.03 * max(part.max(), 1e-3)
    assert difference.mean() <= 0.12 * max(part.max(), 1e-3)


@settings(max_examples=25, deadline=None)
@given(placements)
def test_bounds_hold_all_that_is_drawn(placement):
    x1, y1, x2, y2 = bounds(placement)
    mm = thickness([placement], view=(-200, -200, 200, 200))
    x, y = centres((-200, -200, 200, 200))
    far = (x < x1 - 4) | (x > x2 + 4) | (y < y1 - 4) | (y > y2 + 4)
    assert not mm[far].any()
    assert mm.any()


def test_turning_mirroring_and_tilting():
    arrow = Item("arrow", (Part(rectangle(20, 10, 10, 0), "steel", 1.0),))  # points to +x
    assert bounds(Placement(arrow)) == pytest.approx((0, -5, 20, 5))
    # Clockwise as seen, y being down.
    assert bounds(Placement(arrow, angle=90)) == pytest.approx((-5, 0, 5, 20))
    assert bounds(Placement(arrow, mirror=True)) == pytest.approx((-20, -5, 0, 5))
    tilted = Placement(arrow, 3, 4, tilt=60, tilt_axis=90)
    assert bounds(tilted) == pytest.approx((3, -1, 13, 9))
    mm = thickness([tilted])
    assert mm.max() == pytest.approx(2, rel=0.01)
    # Tilting changes no mass.
    assert mm.sum() / 4 == pytest.approx(200, rel=0.07)


def test_silhouette_is_the_union_of_the_parts_without_their_holes():
    ring = Part(ellipse(60, 60, points=120), "steel", 1.0, holes=(ellipse(40, 40, points=120),))
    rod = Part(rectangle(10, 30), "plastic", 1.0)
    mask = silhouette(Placement(Item("ring", (ring, rod))), VIEW, SIZE)
    x, y = centres()
    r = np.hypot(x, y)
    expected = ((r < 30) & (r > 20)) | ((abs(x) < 5) & (abs(y) < 15))
    assert np.count_nonzero(mask != expected) < 0.03 * np.count_nonzero(expected)


def test_silhouette_out_of_sight_is_empty():
    item = Item("thing", (Part(rectangle(10, 10), "steel", 1.0),))
    assert not silhouette(Placement(item, 500, 0), VIEW, SIZE).any()
    assert not attenuation([Placement(item, 500, 0)], VIEW, SIZE, rng()).any()
    assert not attenuation([], VIEW, SIZE, rng()).any()


@pytest.mark.parametrize("seed", range(6))
def test_the_middle_of_a_mask_is_as_deep_as_any_pixel(seed):
    mask = cv2.GaussianBlur(rng(seed).normal(0, 1, (24, 30)), (0, 0), 3) > 0
    x, y = middle(mask)
    assert x % 1 == y % 1 == 0.5
    outside = np.argwhere(~np.pad(mask, 1)) - 1
    depth = {(i, j): np.hypot(*(outside - (i, j)).T).min() for i, j in np.argwhere(mask)}
    # OpenCV's distances are right to within a few hundredths
    assert depth[int(y), int(x)] > 0.95 * max(depth.values())
