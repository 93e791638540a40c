"""Parametric prohibited items of the PIDray, OPIXray and HiXray catalogues.

`ITEMS` maps a category to a function that builds one random example of it: an `Item` in
millimetres whose name is the category. The same generator state gives the same item.
"""

import numpy as np

from xsyn_core.simulation.items.ammunition import bullet
from xsyn_core.simulation.items.assembly import Builder, one_of, renamed
from xsyn_core.simulation.items.blades import cleaver, straight_knife
from xsyn_core.simulation.items.containers import cosmetic, sprayer, water
from xsyn_core.simulation.items.electronics import (
    laptop,
    mobile_phone,
    portable_charger_1,
    portable_charger_2,
    power_bank,
    tablet,
)
from xsyn_core.simulation.items.folding import folding_knife, multi_tool_knife, utility_knife
from xsyn_core.simulation.items.guns import gun
from xsyn_core.simulation.items.levers import pliers, scissors
from xsyn_core.simulation.items.lighters import disposable, lighter
from xsyn_core.simulation.items.restraints import baton, handcuffs
from xsyn_core.simulation.items.tools import hammer, wrench
from xsyn_core.simulation.parts import Item


def knife(rng: np.random.Generator) -> Item:
    """Any knife."""
    return one_of(
        rng,
        straight_knife,
        straight_knife,
        cleaver,
        folding_knife,
        utility_knife,
        multi_tool_knife,
    )


def _as(category: str, build: Builder) -> Builder:
    return lambda rng: renamed(build(rng), category)


ITEMS: dict[str, Builder] = {
    category: _as(category, build)
    for category, build in {
        "Baton": baton,
        "Pliers": pliers,
        "Hammer": hammer,
        "Powerbank": power_bank,
        "Scissors": scissors,
        "Wrench": wrench,
        "Gun": gun,
        "Bullet": bullet,
        "Sprayer": sprayer,
        "HandCuffs": handcuffs,
        "Knife": knife,
        "Lighter": lighter,
        "Folding_Knife": folding_knife,
        "Straight_Knife": straight_knife,
        "Scissor": scissors,
        "Utility_Knife": utility_knife,
        "Multi-tool_Knife": multi_tool_knife,
        "Portable_Charger_1": portable_charger_1,
        "Portable_Charger_2": portable_charger_2,
        "Water": water,
        "Laptop": laptop,
        "Mobile_Phone": mobile_phone,
        "Tablet": tablet,
        "Cosmetic": cosmetic,
        "Nonmetallic_Lighter": disposable,
    }.items()
}

__all__ = ["ITEMS", "knife"]
