from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsyn_core.simulation import physics
from xsyn_core.simulation.materials import MATERIALS

RAW = Path(__file__).parents[3] / "shared" / "scans" / "dual_energy"

# NIST mass attenuation coefficients with coherent scattering, cm2/g, at 60, 80 and 100 keV.
NIST = {
    "water": (0.2059, 0.1837, 0.1707),
    "aluminium": (0.2778, 0.2018, 0.1704),
    "steel": (1.205, 0.5952, 0.3717),
    "copper": (1.593, 0.7630, 0.4584),
    "silicon": (0.3207, 0.2228, 0.1835),
}


@pytest.mark.parametrize("name", NIST)
def test_basis_meets_nist(name):
    p, c = physics.coefficients(name)
    for energy, expected in zip((60.0, 80.0, 100.0), NIST[name], strict=True):
        photo = p * (60 / energy) ** physics.PHOTO_ENERGY
        compton = c * physics.klein_nishina(energy) / physics.klein_nishina(60.0)
        mass = (photo + compton) * 10 / MATERIALS[name].density
        # Coherent scattering is not in the basis: it is 5 % of water's coefficient at 60 keV.
        assert mass == pytest.approx(expected, rel=0.06)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(MATERIALS)), st.floats(0, 40)), min_size=1, max_size=4
    )
)
def test_transmission_is_beer_lambert_energy_by_energy(layers):
    maps = np.zeros((2, 1, 1), np.float32)
    for name, mm in layers:
        maps[:, 0, 0] += np.array(physics.coefficients(name)) * mm
    signal, open_air = np.zeros(2), np.zeros(2)
    for k, energy in enumerate(physics.ENERGIES.astype(float)):
        exponent = 0.0
        for name, mm in layers:
            p, c = physics.coefficients(name)
            compton = physics.klein_nishina(energy) / physics.klein_nishina(60.0)
            exponent += mm * (p * (60 / energy) ** physics.PHOTO_ENERGY + c * compton)
        weights = np.array([physics.LOW_WEIGHTS[k], physics.HIGH_WEIGHTS[k]])
        signal += weights * np.exp(-exponent)
        open_air += weights
    expected = signal / open_air
    assert physics.transmission(maps)[:, 0, 0] == pytest.approx(expected, rel=2e-3, abs=1e-7)


def test_ratio_of_logarithms_orders_materials_at_equal_absorption():
    ratios = []
    for name in ("polypropylene", "water", "glass", "aluminium", "titanium", "steel", "copper"):
        mm = np.geomspace(1e-2, 2000, 4000)
        maps = np.array(physics.coefficients(name))[:, None, None] * mm[None, None]
        low, high = -np.log(physics.transmission(maps) + 1e-30)[:, 0]
        ratios.append(np.interp(0.7, high, low / high))
    assert np.all(np.diff(ratios) > 0)


def test_air_lets_everything_through_and_lead_nothing():
    assert physics.transmission(np.zeros((2, 3, 4))) == pytest.approx(1, abs=1e-5)
    lead = np.array(physics.coefficients("lead")) * 50
    assert physics.transmission(lead[:, None, None]).max() < 1e-6


@pytest.mark.skipif(not RAW.is_dir(), reason="raw dual-energy scans are not here")
def test_aluminium_steps_of_a_real_step_wedge():
    logs = [
        -np.log(cv2.imread(str(RAW / f"stepwedge_{channel}.png"), -1).astype(float) / 49800)
        for channel in ("lo", "hi")
    ]
    steps = [np.array([np.median(m[200:280, x : x + 16]) for m in logs]) for x in (80, 114, 147)]
    case = np.array(physics.basis(MATERIALS["plastic"])) * 11.6
    aluminium = np.array(physics.basis(MATERIALS["aluminium"]))
    for measured, mm in zip(steps, (9.5, 15.9, 22.2), strict=True):
        simulated = -np.log(physics.transmission((case + aluminium * mm)[:, None, None]))[:, 0, 0]
        assert simulated == pytest.approx(measured, abs=0.06)


@pytest.mark.skipif(not RAW.is_dir(), reason="raw dual-energy scans are not here")
def test_real_bags_lie_between_the_curves_of_polypropylene_and_copper():
    grid = np.geomspace(1e-2, 300, 2000)

    def curve(name):
        maps = np.array(physics.coefficients(name))[:, None, None] * grid[None, None]
        return -np.log(physics.transmission(maps) + 1e-30)[:, 0]

    light, heavy = curve("polypropylene"), curve("copper")
    for stem in ("bag_20200103_165758_20", "bag_20200103_170042_23"):
        low, high = (
            -np.log(cv2.imread(str(RAW / f"{stem}_{c}.png"), -1)[::4, ::4] / 49800.0).ravel()
            for c in ("lo", "hi")
        )
        thick = (high > 0.3) & (high < 2)
        low, high = low[thick], high[thick]
        floor = np.interp(high, light[1], light[0]) * 0.93
        ceiling = np.interp(high, heavy[1], heavy[0]) * 1.07
        assert np.mean((low > floor) & (low < ceiling)) > 0.9  # edges of metal are not registered
