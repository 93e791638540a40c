"""G and Y of Xsyn-M and Xsyn-A."""

from types import SimpleNamespace

import numpy as np
import pytest

from xsyn_core import checks, grounding
from xsyn_core.attitudes import Attitudes
from xsyn_core.categories import CATALOGS
from xsyn_core.errors import XsynError
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import Annotation, make_scan
from xsyn_core.weight_sources import ASSETS

PIDRAY = CATALOGS["pidray"]
WHITE = np.full((400, 500, 3), 255, np.uint8)


def region(*box):
    return SimpleNamespace(box=box)


def test_prompt_and_spans_agree():
    names = ["Knife", "Utility_Knife", "Knife", "HandCuffs"]
    text = grounding.prompt(names)
    assert text == "knife, utility knife, knife, handcuffs"
    assert [text[a:b] for a, b in grounding.spans(names)] == [
        *("knife", "utility knife", "knife", "handcuffs")
    ]
    assert len(set(grounding.spans(names))) == 4


def test_attitudes_follow_their_phrases_and_are_no_part_of_the_spans():
    names, told = ["Gun", "Utility_Knife", "Gun"], ["0 nne", "", "1 w mirrored"]
    text = grounding.prompt(names, told)
    assert text == "gun 0 nne, utility knife, gun 1 w mirrored"
    assert grounding.phrases(names, told) == ("gun 0 nne", "utility knife", "gun 1 w mirrored")
    places = grounding.spans(names, told)
    assert [text[a:b] for a, b in places] == ["gun", "utility knife", "gun"]


def test_addition_takes_a_category_of_the_area_group():
    rng = np.random.default_rng(0)
    regions = [region(10, 10, 60, 60), region(100, 100, 260, 260), region(300, 100, 430, 230)]
    seen = set()
    for _ in range(200):
        found = grounding.addition(regions, PIDRAY, (400, 500), rng)
        side = (found.box[2] - found.box[0]) ** 2
        assert found.category in PIDRAY.candidates(side)
        seen.add((found.box[0], found.category))
    assert {x for x, _ in seen} == {10, 100, 300}
    assert {name for x, name in seen if x == 10} == {"Lighter", "Bullet"}
    assert {name for x, name in seen if x == 100} == {"Hammer"}
    assert len({name for x, name in seen if x == 300}) == 9


@pytest.mark.parametrize("catalog", CATALOGS.values(), ids=lambda catalog: catalog.key)
@pytest.mark.parametrize("width", [30, 300, 448, 900, 3000])
def test_scans_of_another_size_show_the_same_items(catalog, width):
    rng = np.random.default_rng(0)
    least, most = (round(area**0.5) for area in catalog.scan_areas)
    for share in rng.uniform(0.05, 0.9, 50):
        across = share * width
        # as in a square scan of the dataset's own
        own = share * min(max(width, least), most)
        box = (0.0, 0.0, across, across)
        assert catalog.fitting(box, (width, width)) == catalog.candidates(own**2)


@pytest.mark.parametrize("catalog", CATALOGS.values(), ids=lambda catalog: catalog.key)
def test_what_fits_a_box_has_items_of_its_shape(catalog):
    longest = dict(zip(catalog.names, catalog.max_aspect_ratios, strict=True))
    size = (round(catalog.scan_areas[0] ** 0.5),) * 2
    for width, height in np.random.default_rng(0).integers(4, size[0], (200, 2)).tolist():
        box = (3.0, 5.0, 3.0 + width, 5.0 + height)
        group = catalog.candidates(width * height)
        fits = [
            name
            for name in group
            if width <= longest[name] * height and height <= longest[name] * width
        ]
        assert list(catalog.fitting(box, size)) == (fits or list(group))
        small = width * height <= 0.25 * size[0] * size[1]
        assert catalog.item_sized(box, size) == (bool(fits) and small)


@pytest.mark.parametrize("catalog", CATALOGS.values(), ids=lambda catalog: catalog.key)
def test_shapes_are_those_of_most_items_that_the_embedded_painter_knows(catalog):
    known = Attitudes.open(ASSETS / "diffusion" / "tokenizer").known
    for name, most in zip(catalog.names, catalog.max_aspect_ratios, strict=True):
        sides = np.array([sorted(attitude.density.shape) for attitude in known[name]])
        assert 0.85 < (sides[:, 1] <= most * sides[:, 0]).mean() < 0.99


def test_a_box_longer_than_its_items_is_told():
    scan = make_scan(WHITE, "a.png")
    for longer, told in ((60.0, False), (126.0, True)):
        for box in ((100.0, 100.0, 100.0 + longer, 140.0), (100.0, 100.0, 140.0, 100.0 + longer)):
            notes = checks.warnings(scan, Request((Grounding("Powerbank", box),)))
            assert any("Few items of Powerbank" in note for note in notes) == told
            assert not checks.warnings(scan, Request((Grounding("Knife", box),)))


def test_addition_in_a_large_scan_is_not_always_of_the_largest_group():
    place, rng = region(300, 200, 600, 500), np.random.default_rng(0)
    names = {grounding.addition([place], PIDRAY, (1360, 1014), rng).category for _ in range(100)}
    assert names == set(PIDRAY.candidates(20_000))


@pytest.mark.parametrize("large", [1, 3, 20])
def test_categories_come_equally_often(large):
    regions = [region(10 * k, 10, 10 * k + 200, 210) for k in range(large)]
    regions += [region(300, 100, 430, 230), region(300, 250, 430, 380)]
    rng = np.random.default_rng(0)
    draws = [grounding.addition(regions, PIDRAY, (400, 500), rng) for _ in range(3000)]
    names, counts = np.unique([d.category for d in draws], return_counts=True)
    # nine in the middle group and one in the large; the small group has no region
    assert len(names) == 10 and np.abs(counts - 300).max() < 75
    boxes, counts = np.unique([d.box for d in draws], axis=0, return_counts=True)
    assert len(boxes) == len(regions)
    middle = counts[(boxes[:, 0] == 300)]
    assert np.abs(middle - 1350).max() < 130


def test_addition_of_a_category_takes_a_region_that_fits_it_or_is_of_its_shape():
    middle, small, other = (
        region(300, 100, 430, 230),
        region(10, 10, 60, 60),
        region(9, 90, 59, 140),
    )
    thin, thinner = region(100, 300, 400, 340), region(100, 350, 400, 382)
    rng = np.random.default_rng(0)

    def chosen(name, *regions):
        draws = [grounding.addition(regions, PIDRAY, (400, 500), rng, name) for _ in range(60)]
        assert {found.category for found in draws} == {name}
        return {found.box for found in draws}

    everything = middle, small, other, thin, thinner
    assert chosen("Gun", *everything) == {middle.box}
    assert chosen("Bullet", *everything) == {small.box, other.box}
    assert chosen("Gun", small, other, thin, thinner) == {small.box, other.box}
    assert chosen("Gun", thin, thinner) == {thin.box, thinner.box}
    assert chosen("Baton", *everything) == {middle.box, thin.box}


def test_regions_that_no_category_is_as_long_as_are_the_last_choice():
    regions = [region(10, 10, 60, 60), region(100, 350, 400, 382)]
    draws = [
        grounding.addition(some, PIDRAY, (400, 500), np.random.default_rng(k))
        for some in (regions, regions[1:])
        for k in range(30)
    ]
    assert {found.box for found in draws[:30]} == {regions[0].box}
    assert {found.box for found in draws[30:]} == {regions[1].box}
    assert {found.category for found in draws} == {"Lighter", "Bullet"}


def test_addition_without_a_region_says_what_to_do():
    for none in ([], [region(0, 0, 500, 400)]):
        with pytest.raises(XsynError, match="no idle region"):
            grounding.addition(none, PIDRAY, (400, 500), np.random.default_rng(0))


def test_modification_takes_annotations_but_small_ones_and_crowds():
    scan = make_scan(
        WHITE,
        "a.png",
        (
            Annotation("knife", (10, 10, 60, 60)),
            Annotation("Gun", (100, 100, 110, 115)),
            Annotation("Gun", (200, 100, 300, 200), iscrowd=True),
        ),
    )
    assert grounding.modification(scan, PIDRAY) == (Grounding("Knife", (10, 10, 60, 60)),)
    with pytest.raises(XsynError, match="no annotated item"):
        grounding.modification(make_scan(WHITE, "b.png"), PIDRAY)


def test_modification_leaves_items_whose_boxes_cannot_be_painted():
    knife = Annotation("Knife", (10, 10, 60, 60))
    thin = Annotation("Baton", (200, 100, 203, 399))
    huge = Annotation("Gun", (2, 2, 498, 398))
    scan = make_scan(WHITE, "a.png", (thin, knife, huge))
    asked = grounding.modification(scan, PIDRAY)
    assert asked == (Grounding("Knife", knife.box),)
    assert checks.checked_request(scan, Request(asked, "modify")).groundings == asked
    with pytest.raises(XsynError, match="no annotated item to modify"):
        grounding.modification(make_scan(WHITE, "b.png", (thin, huge)), PIDRAY)


def test_what_is_left_of_a_replaced_item_is_told():
    gun = Annotation("Gun", (100.0, 100.0, 200.0, 160.0))
    scan = make_scan(WHITE, "a.png", (gun, Annotation("Knife", (300.0, 300.0, 400.0, 350.0))))

    def told(*places, variant="modify"):
        return checks.warnings(scan, Request(tuple(Grounding("Gun", p) for p in places), variant))

    (note,) = told((130.0, 100.0, 230.0, 160.0))
    assert "annotated Gun" in note and "without a label" in note
    assert told(gun.box) == told((104.0, 95.0, 210.0, 170.0)) == ()
    assert len(told((106.0, 95.0, 210.0, 170.0))) == 1
    # together they cover it
    assert told((100.0, 100.0, 170.0, 160.0), (130.0, 100.0, 200.0, 160.0)) == ()
    assert all("outside" not in n for n in told((130.0, 100.0, 230.0, 160.0), variant="add"))


def test_what_modified_items_cover_and_keep_is_told():
    gun = Annotation("Gun", (100.0, 100.0, 250.0, 200.0))
    bullet = Annotation("Bullet", (150.0, 140.0, 162.0, 152.0))
    scan = make_scan(WHITE, "a.png", (gun, bullet))
    (note,) = checks.warnings(scan, Request((Grounding("Gun", gun.box),), "modify"))
    assert "annotated Bullet, whose label is kept" in note
    both = Grounding("Gun", gun.box), Grounding("Bullet", bullet.box)
    assert not any("whose label" in n for n in checks.warnings(scan, Request(both, "modify")))
    assert len(checks.warnings(scan, Request((Grounding("Gun", gun.box),), "add"))) == 2


def test_modification_leaves_items_of_other_categories():
    box = (100, 100, 200, 200)
    known = (Annotation("knife", (10, 10, 60, 60)), Annotation("firecracker", box))
    scan = make_scan(WHITE, "a.png", (*known, Annotation("Hand cuffs", box)))
    cuffs = Grounding("HandCuffs", box)
    assert grounding.modification(scan, PIDRAY) == (Grounding("Knife", known[0].box), cuffs)
    assert grounding.modification(scan, PIDRAY, ["HandCuffs"]) == (cuffs,)
    for names, asked in (((), "PIDray"), (["Gun"], "Gun")):
        only = scan if names else make_scan(WHITE, "b.png", known[1:])
        with pytest.raises(XsynError, match=f"no annotated item of {asked} .*firecracker"):
            grounding.modification(only, PIDRAY, names)


def test_modified_annotations_are_replaced_and_others_kept():
    knife, gun = Annotation("Knife", (10, 10, 60, 60)), Annotation("Gun", (200, 100, 300, 200))
    scan = make_scan(WHITE, "a.png", (knife, gun))
    asked = [Grounding("Knife", (12, 10, 60, 60))]
    assert grounding.kept_annotations(scan, asked, "modify") == (gun,)
    assert grounding.kept_annotations(scan, asked, "add") == (knife, gun)
    with pytest.raises(XsynError, match="no annotated item at"):
        grounding.kept_annotations(scan, [Grounding("Gun", (100, 300, 150, 350))], "modify")


def test_what_overlaps_a_modified_item_by_less_than_half_is_kept():
    gun, near = Annotation("Gun", (10, 10, 60, 60)), Annotation("Knife", (30, 10, 80, 60))
    half = Annotation("Bullet", (10, 10, 60, 35))
    scan = make_scan(WHITE, "a.png", (gun, near, half))
    assert grounding.kept_annotations(scan, [Grounding("Gun", gun.box)], "modify") == (near,)


def test_a_crowd_is_never_taken_for_the_item_that_is_modified():
    box = (10, 10, 60, 60)
    knife, crowd = Annotation("Knife", box), Annotation("Knife", box, iscrowd=True)
    asked = [Grounding("Knife", box)]
    both = make_scan(WHITE, "a.png", (crowd, knife))
    assert grounding.kept_annotations(both, asked, "modify") == (crowd,)
    with pytest.raises(XsynError, match="no annotated item at"):
        grounding.kept_annotations(make_scan(WHITE, "b.png", (crowd,)), asked, "modify")


def test_checked_names_what_is_wrong():
    with pytest.raises(XsynError, match="Nothing to paint"):
        grounding.checked((), PIDRAY, (400, 500))
    with pytest.raises(XsynError, match="not a category"):
        grounding.checked((Grounding("Sword", (0, 0, 50, 50)),), PIDRAY, (400, 500))
    with pytest.raises(XsynError, match="outside"):
        grounding.checked((Grounding("Gun", (600, 0, 650, 50)),), PIDRAY, (400, 500))
    (found,) = grounding.checked((Grounding("hand cuffs", (-5, 0, 50, 50)),), PIDRAY, (400, 500))
    assert found == Grounding("HandCuffs", (0, 0, 50, 50))
