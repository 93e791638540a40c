"""What people carry that is no prohibited item, by kind."""

from collections.abc import Callable

import numpy as np

from xsyn_core.simulation.contents import appliances, belongings, clothing, food
from xsyn_core.simulation.parts import Item

_KINDS = (
    clothing.folded_clothes,
    clothing.rolled_clothes,
    clothing.heap_of_cloth,
    clothing.bra,
    clothing.shoe,
    clothing.high_heel,
    clothing.belt,
    clothing.towel,
    clothing.umbrella,
    clothing.soft_case,
    food.fruit,
    food.snack_bag,
    food.lunch_box,
    food.can,
    food.chocolate,
    food.jar,
    food.glass_bottle,
    food.tube,
    food.blister_pack,
    food.sachets,
    food.loaf,
    food.sponge,
    belongings.book,
    belongings.wallet,
    belongings.coins,
    belongings.keys,
    belongings.glasses,
    belongings.pens,
    belongings.cutlery,
    belongings.jewellery,
    belongings.beads,
    belongings.watch,
    belongings.toy,
    belongings.clutter,
    belongings.wire_bundle,
    belongings.hanger,
    belongings.brush,
    belongings.safety_razor,
    appliances.cable,
    appliances.spiral_cord,
    appliances.charger,
    appliances.extension_lead,
    appliances.headphones,
    appliances.camera,
    appliances.hair_dryer,
    appliances.shaver,
    appliances.batteries,
    appliances.gadget,
    appliances.wires,
    appliances.keyboard,
    appliances.mouse,
    appliances.fan_motor,
)

CONTENTS: dict[str, Callable[[np.random.Generator], Item]] = {k.__name__: k for k in _KINDS}
