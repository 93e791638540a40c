from dataclasses import replace

import numpy as np
import pytest

from xsyn_core.errors import XsynError
from xsyn_core.simulation.looks import LOOKS, Look, expose, palette, random_look
from xsyn_core.simulation.palettes import FAMILIES, measured
from xsyn_core.simulation.physics import coefficients


def rng(seed=0):
    return np.random.default_rng(seed)


def flat(material, mm, size=(48, 48)):
    """A plate over the whole view."""
    plate = np.empty((2, *size), np.float32)
    plate[:] = np.array(coefficients(material))[:, None, None] * mm
    return plate


def clean(family):
    """A look without noise."""
    return replace(
        LOOKS[family], noise=0.0, floor_noise=0.0, hue_noise=0.0, edge=0.0, jpeg=0, air=0.0
    )


def colour(material, mm, look):
    return expose(flat(material, mm), look, rng())[24, 24].astype(float)


def luminance(rgb):
    return rgb @ np.array([0.3, 0.59, 0.11])


@pytest.mark.parametrize("family", FAMILIES)
def test_open_air_is_the_air_of_the_scanner(family):
    picture = expose(np.zeros((2, 32, 32), np.float32), clean(family), rng())
    assert picture == pytest.approx(np.broadcast_to(measured(family)[0, -1], (32, 32, 3)), abs=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_more_matter_is_darker(family):
    for material in ("water", "aluminium", "steel"):
        grey = [luminance(colour(material, mm, clean(family))) for mm in (0, 1, 4, 12, 40, 120)]
        assert np.all(np.diff(grey) < 3)
        assert grey[-1] < grey[0] - 80


@pytest.mark.parametrize("family", ["sixray", "opixray", "pixray", "parcel", "yellow", "deep"])
def test_organic_is_orange_inorganic_green_and_metal_blue(family):
    look = clean(family)
    red, green, blue = colour("water", 60, look)
    assert red > green > blue
    red, green, blue = colour("aluminium", 10, look)
    assert green > red and green > blue
    red, green, blue = colour("steel", 1.0, look)
    assert blue > green > red


@pytest.mark.parametrize("family", FAMILIES)
def test_hue_depends_on_atomic_number_more_than_on_thickness(family):
    look = clean(family)

    def redness(material, mm):
        r, _, b = colour(material, mm, look)
        return r - b

    assert redness("polypropylene", 50) > redness("steel", 0.8)
    assert redness("plastic", 30) > redness("copper", 0.6)


def test_a_coarse_view_and_a_window_show_equal_colours():
    look = clean("opixray")
    for material, mm in (("water", 50), ("steel", 2)):
        coarse = expose(flat(material, mm), look, rng(), 3.0)[24, 24].astype(int)
        window = expose(flat(material, mm), look, rng(), 0.3)[24, 24].astype(int)
        assert abs(coarse - window).max() <= 2


def test_a_window_is_as_soft_and_noisy_as_a_crop_enlarged():
    look = replace(LOOKS["opixray"], pixel_mm=1.0, noise=0.02, jpeg=0, air=0.0)
    crop = expose(flat("water", 20, (64, 64)), look, rng(1), 1.0).astype(float)
    window = expose(flat("water", 20, (256, 256)), look, rng(2), 0.25).astype(float)
    assert window.std() == pytest.approx(crop.std(), rel=0.35)
    # Neighbours of a window hardly differ: its noise has the pitch of the scanner.
    assert abs(np.diff(window, axis=1)).mean() < 0.5 * abs(np.diff(crop, axis=1)).mean()


def test_edges_are_enhanced():
    step = flat("water", 30, (64, 64))
    step[:, :, 32:] *= 2
    look = replace(clean("opixray"), edge=1.5, blur=0.6)
    row = expose(step, look, rng())[32].astype(float) @ np.array([0.3, 0.59, 0.11])
    assert row[28:32].max() > row[10] + 2
    assert row[32:36].min() < row[55] - 2


@pytest.mark.parametrize("family", [None, "grey", "tray"])
def test_equal_generators_make_equal_pictures(family):
    look = random_look(rng(3), family)
    assert look == random_look(rng(3), family)
    maps = flat("water", 20)
    maps[:, :, 20:] += flat("steel", 2)[:, :, 20:]
    assert np.array_equal(expose(maps, look, rng(4), 0.8), expose(maps, look, rng(4), 0.8))
    assert not np.array_equal(expose(maps, look, rng(4), 0.8), expose(maps, look, rng(5), 0.8))


def test_random_looks_are_all_usable_and_differ():
    maps = flat("cotton", 30, (40, 56))
    maps[:, :, 30:] += flat("steel", 3, (40, 56))[:, :, 30:]
    generator = rng(0)
    looks = [random_look(generator) for _ in range(30)]
    assert len(set(looks)) == 30
    assert len({look.family for look in looks}) > 5
    for look in looks:
        picture = expose(maps, look, generator, 1.0)
        assert picture.shape == (40, 56, 3) and picture.dtype == np.uint8
        assert luminance(picture[20, 45]) < luminance(picture[20, 10])


def test_palette_ends_in_air_and_darkness():
    for family in FAMILIES:
        colours = palette(Look(family))
        assert colours.shape == (5, 14, 3)
        assert np.ptp(colours[:, -1], axis=0).max() == 0
        assert luminance(colours[:, 0]).max() < 30


def test_unknown_family():
    with pytest.raises(XsynError, match="sixray"):
        random_look(rng(), "nonesuch")
