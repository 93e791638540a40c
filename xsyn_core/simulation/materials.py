"""What things are made of: density, electrons and effective atomic number.

Densities and Z/A are those of the NIST tables of X-ray mass attenuation coefficients (Hubbell and
Seltzer, NISTIR 5632) for elements and plain compounds, handbook values otherwise. The effective
atomic number of a compound is (sum of electron share x Z ** n) ** (1 / n), n = 3.16, the power of
`physics`. Composites (cloth, circuit boards, cells, foam, books) are taken with the air or
the mixture in them, as one homogeneous stuff.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Material:
    """A homogeneous stuff.

    Attributes:
        density: g/cm3.
        number: effective atomic number.
        electrons: mol of electrons a gram (Z/A).
    """

    density: float
    number: float
    electrons: float = 0.53


MATERIALS: dict[str, Material] = {
    "steel": Material(7.87, 26.0, 0.466),
    "aluminium": Material(2.70, 13.0, 0.482),
    "brass": Material(8.50, 29.4, 0.457),
    # 82 would be wrong: most of the spectrum lies below lead's K edge (88 keV), where only its
    # outer shells absorb. This number gives 4 cm2/g, the mean of NIST's values at 60 to 100 keV.
    "lead": Material(11.34, 42.0, 0.396),
    "copper": Material(8.96, 29.0, 0.456),
    "zinc": Material(6.70, 29.0, 0.459),  # die-cast alloy (zips, buckles, toy guns)
    "titanium": Material(4.51, 22.0, 0.460),
    "silicon": Material(2.33, 14.0, 0.498),
    "glass": Material(2.50, 12.6, 0.497),  # soda-lime
    "ceramic": Material(2.60, 12.0, 0.495),  # porcelain to alumina
    "plastic": Material(1.08, 6.1, 0.540),  # ABS, polycarbonate and the like
    "polypropylene": Material(0.91, 5.5, 0.570),
    "pvc": Material(1.38, 14.0, 0.512),
    "rubber": Material(1.15, 8.6, 0.545),  # with sulphur and zinc oxide
    "leather": Material(0.90, 7.1, 0.534),
    "cotton": Material(0.25, 6.9, 0.530),  # folded cloth, mostly air
    "nylon": Material(1.14, 6.2, 0.548),
    "paper": Material(0.80, 7.2, 0.530),  # a book: cellulose with mineral filler
    "wood": Material(0.65, 6.9, 0.530),
    "water": Material(1.00, 7.46, 0.555),
    "alcohol": Material(0.79, 6.4, 0.564),
    "food": Material(0.95, 7.2, 0.549),
    "cream": Material(1.00, 7.6, 0.552),
    "butane": Material(0.58, 5.4, 0.585),  # liquid under pressure
    "gunpowder": Material(0.95, 7.4, 0.512),  # nitrocellulose grains
    "lithium_cell": Material(2.30, 18.0, 0.480),  # foils of copper and aluminium, oxide, carbon
    "pcb": Material(2.10, 16.5, 0.495),  # epoxy, glass and copper, with small parts on it
    "foam": Material(0.04, 6.4, 0.540),
    "cardboard": Material(0.22, 7.0, 0.530),  # corrugated
}
