"""What may change in an image, and how an item lies in it."""

import cv2
import numpy as np
import pytest
from framed_scans import scans_with_boxes
from hypothesis import given, settings
from hypothesis import strategies as st

from xsyn_core import boxes
from xsyn_core.compositing import FEATHER, absorption, composite, harmonise, put_back, weight
from xsyn_core.evaluation.held_out import case
from xsyn_core.frames import Frame, window_around


@given(scans_with_boxes(most=2), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_only_the_boxes_and_their_feather_change(case, seed):
    size, targets = case
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    frame = window_around(targets[0], size, 128)
    inside = frame.inside(size)
    x1, y1, x2, y2 = inside
    share = weight(targets, inside)
    image = source.copy()
    patch = rng.uniform(0, 255, (y2 - y1, x2 - x1, 3)).astype(np.float32)
    composite(image, patch, inside, share)
    allowed = np.zeros(size, bool)
    full = np.zeros(size, bool)
    for box in targets:
        bx1, by1, bx2, by2 = boxes.outward(boxes.clip(boxes.expand(box, FEATHER), size))
        allowed[by1:by2, bx1:bx2] = True
        bx1, by1, bx2, by2 = boxes.outward(box)
        full[by1:by2, bx1:bx2] = True
    changed = (image != source).any(-1)
    assert not (changed & ~allowed).any()
    here = full[y1:y2, x1:x2]
    assert (share[here] == 1).all()
    assert np.array_equal(image[y1:y2, x1:x2][here], np.rint(patch).astype(np.uint8)[here])


def test_harmonise_takes_out_a_constant_shift():
    source = np.random.default_rng(0).uniform(60, 180, (128, 128, 3)).astype(np.float32)
    repainted = np.zeros((128, 128), bool)
    repainted[40:88, 40:88] = True
    mended = harmonise(source - 10, source, repainted)
    assert np.abs(mended - source)[41:43, 41:87].max() < 5
    assert np.abs(mended - source)[~repainted].mean() < 1


def bar(side=128):
    """bool (side, side): an item that covers an eighth of the frame."""
    item = np.zeros((side, side), bool)
    item[side * 3 // 8 : side * 5 // 8, side // 4 : side * 3 // 4] = True
    return item


def boxed(side):
    """bool (side, side): the repainted cells around the `bar`."""
    cells = np.zeros((side, side), bool)
    cells[side // 4 : side * 3 // 4, side // 8 : side * 7 // 8] = True
    return cells


def glow(item):
    """Attention to an item as vague as a painter's: float32, 1 at its highest."""
    vague = cv2.GaussianBlur(item.astype(np.float32), (0, 0), len(item) / 24)
    return vague / vague.max()


def inner(item):
    """bool, the item without its edge: soft by a pixel of 128, and rounded where it has corners."""
    return cv2.erode(item.astype(np.uint8), np.ones((len(item) // 32 + 1,) * 2)) > 0


def muted(colours, behind, source):
    """Colours (3,) of an item painted before one grey, when it is laid before another, both 0 to
    255: the more of the light it takes, the less the difference counts."""
    dark = (1 - sum(colours) / 3) ** 1.5
    return np.float32(colours) * behind * counted(source / behind, dark)


def counted(crossing, dark):
    """What is left of a factor of the light where an item takes `dark` of it: a density counts the
    less the darker the item, but no more than 1.2 of it is lost."""
    density = np.log(crossing)
    return np.exp(density - dark * 1.2 * np.tanh(density / 1.2))


@pytest.mark.parametrize("side", [64, 128, 512])
def test_an_item_takes_what_it_takes_from_its_own_background(side):
    # painted on a background twice as bright as the source
    item, colours = bar(side), np.float32([0.2, 0.5, 0.8])
    source = np.full((side, side, 3), 100, np.float32)
    painted = np.full((side, side, 3), 200, np.float32)
    painted[item] *= colours
    taken = absorption(painted, source, boxed(side), glow(item))
    assert np.allclose(taken[inner(item)], 1 - muted(colours, 200, 100) / 100, atol=0.02)
    assert np.allclose(taken[~item], 0, atol=0.02)


def test_transmissions_of_pale_items_multiply():
    item, colours = bar(), np.float32([0.98, 0.93, 0.9])
    source = np.full((128, 128, 3), 120, np.float32)
    painted = np.full((128, 128, 3), 240, np.float32)
    painted[item] *= colours
    taken = absorption(painted, source, boxed(128), glow(item))
    assert np.allclose(taken[inner(item)], 1 - colours, atol=0.02)


def test_items_laid_into_other_clutter_look_as_the_simulator_shows_them_there():
    """Nothing in the clutter's colours is told: items as seen with nothing upon them, laid into the
    same bag with its contents, where scanners of every look show them by their physics."""
    side, wrong = 128, {"laid": [], "multiplied": [], "signed": []}
    taken = {"laid": 0.0, "true": 0.0}
    frame = Frame((0, 0, side, side), (side, side))

    def smooth(picture):  # without the scanner's noise
        return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.8)

    def density(picture):
        return -np.log(picture.mean(-1) + 1)

    for number, name in enumerate(
        ("Knife", "Gun", "Powerbank", "Pliers", "HandCuffs", "Laptop") * 4
    ):
        full, clear = (case(name, number, side, buried=buried) for buried in (True, False))
        truth, source, painted, behind = map(
            smooth, (full.image, full.benign, clear.image, clear.benign)
        )
        target = boxes.clip(boxes.expand(boxes.of_mask(full.mask), 8), (side, side))
        x1, y1, x2, y2 = boxes.outward(target)
        cells = np.zeros((side, side), bool)
        cells[y1:y2, x1:x2] = True
        image, decoded = full.benign.copy(), clear.image.astype(np.float32)
        maps = [glow(full.mask)]
        put_back(image, full.benign, frame, decoded, cells, [target], maps, "keep")
        crossing = density(behind) - density(source)
        crossed = full.mask & (np.abs(crossing) > 0.3)
        if crossed.sum() < 40:
            continue
        multiplied = source * np.minimum(painted / np.maximum(behind, 1), 1)
        wrong["laid"].append(np.abs(smooth(image) - truth)[crossed].mean())
        wrong["multiplied"].append(np.abs(multiplied - truth)[crossed].mean())
        wrong["signed"].append((smooth(image) - truth)[crossed].mean())
        dense = full.mask & (crossing < -1)
        taken["laid"] += (density(smooth(image)) - density(source))[dense].sum()
        taken["true"] += (density(truth) - density(source))[dense].sum()
    assert len(wrong["laid"]) > 8
    # one knows the true background of the item, the other guesses it
    assert np.mean(wrong["laid"]) < 0.7 * np.mean(wrong["multiplied"])
    assert abs(np.mean(wrong["signed"])) < 4
    # in dense places items do not fade
    assert 0.85 < taken["laid"] / taken["true"] < 1.2


def test_an_item_that_fills_its_box_is_measured_against_the_scan():
    source = np.full((128, 128, 3), 200, np.float32)
    painted = np.full((128, 128, 3), 50, np.float32)
    everywhere = np.ones((128, 128))
    taken = absorption(painted, source, everywhere > 0, everywhere)
    # the darkest background that is believed in has six tenths of the scan's light
    expected = muted([50 / (0.6 * 200)] * 3, 0.6 * 200, 200)
    assert np.allclose(taken, 1 - expected / 200, atol=0.02)


def test_a_large_item_is_as_dark_in_its_middle_as_at_its_edge():
    source = np.full((128, 128, 3), 180, np.float32)
    painted = source.copy()
    cells = np.zeros((128, 128), bool)
    cells[16:112, 16:112] = True
    item = np.zeros((128, 128), bool)
    item[28:100, 28:100] = True
    painted[cells] = 160
    painted[item] *= np.float32([0.5, 0.6, 0.7])
    taken = absorption(painted, source, cells, glow(item))
    expected = muted([0.5, 0.6, 0.7], 160, 180)
    assert np.allclose(taken[inner(item)], 1 - expected / 180, atol=0.03)
    assert np.allclose(taken[~item], 0, atol=0.02)


def test_the_scans_own_texture_is_no_item():
    rng = np.random.default_rng(0)
    item, colours, level = bar(), np.float32([0.2, 0.5, 0.8]), 170
    alike = rng.random((128, 128)) < 0.5
    source = rng.uniform(120, 255, (128, 128, 3)).astype(np.float32)
    source[alike] = level * rng.uniform(0.96, 1.04, (alike.sum(), 3))
    painted = source.copy()
    painted[boxed(128)] = level
    painted[item] = level * colours
    taken = absorption(painted, source, boxed(128), glow(item))
    assert np.allclose(taken[~item], 0, atol=0.02)
    # on what differs from its own background it lets that through, on what is like it, it stays
    light, dark = source.mean(-1, keepdims=True), (1 - colours.mean()) ** 1.5
    crossing = (source / level) ** (1 - dark) * (light / level) ** dark
    seen = painted * counted(crossing, dark)
    seen[..., :2] = np.minimum(seen, source)[..., :2]
    other = np.abs(np.log(source / level)).max(-1) > 0.16
    for kind, expected in ((alike, painted), (other, seen)):
        chosen = kind & inner(item)
        assert chosen.mean() > 0.02
        assert np.allclose(taken[chosen], (1 - expected / source)[chosen], atol=0.02)


def test_a_rod_across_an_item_shows_through_it():
    item, colours = bar(), np.float32([0.2, 0.5, 0.8])
    source = np.full((128, 128, 3), 220, np.float32)
    source[:, 60:66] *= 0.4
    painted = np.full((128, 128, 3), 220, np.float32)
    painted[item] *= colours
    seen = source * (1 - absorption(painted, source, boxed(128), glow(item)))
    rod = np.zeros((128, 128), bool)
    rod[:, 60:66] = True
    assert (rod & inner(item)).any()
    assert np.allclose(seen[rod & inner(item)], muted(colours, 220, 0.4 * 220), atol=2)
    assert np.allclose(seen[~rod & inner(item)], 220 * colours, atol=2)


@pytest.mark.parametrize("side", [64, 128, 512])
def test_an_item_takes_no_more_where_the_background_is_rough(side):
    # measured against the brightest around it, all that is rough would make it darker
    rng = np.random.default_rng(0)
    item, colours = bar(side), np.float32([0.2, 0.5, 0.8])
    source = np.full((side, side, 3), 200, np.float32)
    rough = cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), side / 64)
    painted = source + np.float32(10 * rough / rough.std())[..., None]
    painted[item] = 200 * colours
    taken = absorption(painted, source, boxed(side), glow(item))
    assert np.allclose(taken[inner(item)].mean(0), 1 - colours, atol=0.02)
    assert np.allclose(taken[cv2.dilate(np.uint8(item), np.ones((3, 3))) == 0].mean(), 0, atol=0.01)


@pytest.mark.parametrize("side", [64, 128, 512])
def test_a_background_painted_too_dark_is_no_item(side):
    # on a bright belt: the whole box came out darker, and the item is as dark as it is painted
    item, colours = bar(side), np.float32([0.2, 0.5, 0.8])
    source = np.full((side, side, 3), 250, np.float32)
    painted = source.copy()
    painted[boxed(side)] *= np.float32([0.85, 0.9, 0.95])
    painted[item] *= colours
    taken = absorption(painted, source, boxed(side), glow(item))
    behind = 250 * np.float32([0.85, 0.9, 0.95])
    dark = (1 - (behind * colours).sum() / behind.sum()) ** 1.5
    crossing = (250 / behind) ** (1 - dark) * (3 * 250 / behind.sum()) ** dark
    expected = behind * colours * counted(crossing, dark)
    assert np.allclose(taken[inner(item)], 1 - expected / 250, atol=0.02)
    assert np.allclose(taken[~item], 0, atol=0.02)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.sampled_from([48, 96, 128]))
def test_nothing_gets_brighter_and_faint_unevenness_is_no_item(seed, side):
    rng = np.random.default_rng(seed)
    source, painted = (rng.uniform(0, 255, (side, side, 3)).astype(np.float32) for _ in range(2))
    attention = rng.random((side, side))
    taken = absorption(painted, source, boxed(side), attention)
    assert taken.dtype == np.float32 and taken.shape == source.shape
    assert (taken <= 1).all() and (taken[~boxed(side)] == 0).all()
    # metal on orange is bluer than orange: blue alone may be added, never light in all
    assert (taken[..., :2] >= 0).all()
    assert ((source * (1 - taken)).mean(-1) <= source.mean(-1) + 0.5).all()
    uneven = 200 * (1 - 0.02 * rng.random((side, side, 1), np.float32).repeat(3, 2))
    even = np.full_like(uneven, 150)
    assert (absorption(uneven, even, boxed(side), np.ones((side, side))) == 0).all()


@pytest.mark.parametrize("side", [64, 128, 512])
def test_a_shade_far_from_the_attention_is_background_and_metal_there_an_item(side):
    item, source = bar(side), np.full((side, side, 3), 200, np.float32)
    shade, limb = np.zeros((2, side, side), bool)
    shade[side // 4 : side * 3 // 4, side * 13 // 16 : side * 7 // 8] = True
    limb[side * 3 // 8 : side * 5 // 8, side // 8 : side * 3 // 16] = True
    painted = source.copy()
    painted[item] *= 0.4
    painted[shade] *= 0.7
    painted[limb] *= 0.2
    taken = absorption(painted, source, boxed(side), glow(item))
    assert np.allclose(taken[inner(item)], 0.6, atol=0.02)
    assert (taken[shade] == 0).all()
    assert np.allclose(taken[inner(limb)], 0.8, atol=0.02)


def ring(side, attended):
    """A bar with a thin ring that hangs on it, and the attention to both: the ring gets little."""
    thin, thick = np.zeros((2, side, side), np.uint8)
    cv2.circle(thin, (side // 4, side // 2), side // 12, 1, max(1, side // 40))
    thick[side * 15 // 32 : side * 17 // 32, side // 3 : side * 3 // 4] = 1
    return thin > 0, thick > 0, np.maximum(thick, attended * np.float32(thin))


@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize("loss", [0.15, 0.1, 0.07])
def test_a_pale_ring_is_an_item_at_little_attention_and_a_shade_is_not(side, loss):
    source = np.full((side, side, 3), 220, np.float32)
    thin, thick, attention = ring(side, 0.2)
    painted = source.copy()
    painted[thick] *= 0.3
    shade = np.zeros((side, side), bool)
    shade[side * 9 // 16 : side * 11 // 16, side // 3 : side * 3 // 4] = True
    painted[thin] *= 1 - loss
    painted[shade] *= 0.85
    attention[shade] = 0.1
    taken = absorption(painted, source, boxed(side), attention)
    assert abs(taken[thin & ~thick].mean() - loss) < 0.01
    assert taken[cv2.erode(np.uint8(shade), np.ones((5, 5))) > 0].mean() < 0.02
    unseen = absorption(painted, source, boxed(side), np.float32(thick))
    assert unseen[thin & ~thick].mean() < 0.04


@pytest.mark.parametrize("colours", [(1, 0.95, 0.7), (0.95, 0.7, 1)])
def test_organic_items_take_blue_as_others_take_green(colours):
    item, source = bar(), np.full((128, 128, 3), 220, np.float32)
    painted = source.copy()
    painted[item] *= np.float32(colours)
    taken = absorption(painted, source, boxed(128), glow(item))
    assert np.allclose(taken[inner(item)], 1 - np.float32(colours), atol=0.03)


def test_a_pale_item_lets_the_grain_of_the_scan_through():
    # set into grain as strong as itself, a pale item that stayed as painted would not be seen
    rng = np.random.default_rng(0)
    item, colours = bar(), np.float32([0.98, 0.93, 0.88])
    source = 220 * (1 + np.float32(rng.normal(0, 0.06, (128, 128, 1)))).repeat(3, 2)
    painted = np.full((128, 128, 3), 220, np.float32)
    painted[item] *= colours
    taken = absorption(painted, source, boxed(128), glow(item))
    assert np.allclose(taken[inner(item)], 1 - colours, atol=0.02)
    assert np.allclose(taken[~item], 0, atol=0.02)


def test_scraps_that_nobody_attended_to_are_the_scans_own():
    source = np.full((128, 128, 3), 220, np.float32)
    item, scrap = np.zeros((2, 128, 128), bool)
    item[56:72, 48:96] = True
    scrap[40:44, 24:28] = True
    painted = source.copy()
    painted[item] *= 0.3
    painted[scrap] *= 0.35
    taken = absorption(painted, source, boxed(128), glow(item))
    assert taken[inner(item)].min() > 0.6 and (taken[scrap] == 0).all()
    # the same scrap hangs together with the item
    painted[42:58, 26:50] = 220 * 0.35
    taken = absorption(painted, source, boxed(128), glow(item))
    assert taken[41:43, 25:27].min() > 0.4
    # attention that lies elsewhere altogether tells nothing of the scraps
    nowhere = np.zeros((128, 128), np.float32)
    nowhere[0, 0] = 1
    assert absorption(painted, source, boxed(128), nowhere)[inner(item)].min() > 0.5


def test_each_of_several_items_is_attended_to_by_its_own_measure():
    # attention is a share among all words, so that maps of one frame differ in height
    side = 128
    image = np.full((side, side, 3), 200, np.uint8)
    items, cells = np.zeros((2, side, side), bool), np.zeros((side, side), bool)
    targets = [(8.0, 32.0, 56.0, 96.0), (72.0, 32.0, 120.0, 96.0)]
    decoded = image.astype(np.float32)
    for item, (x1, y1, x2, y2) in zip(items, targets, strict=True):
        cells[int(y1) : int(y2), int(x1) : int(x2)] = True
        item[int(y1) + 16 : int(y2) - 16, int(x1) + 12 : int(x2) - 12] = True
        decoded[item] *= 0.7
    frame = Frame((0, 0, side, side), (side, side))
    maps = [0.9 * glow(items[0]), 0.02 * glow(items[1])]
    put_back(image, image, frame, decoded, cells, targets, maps, "keep")
    for item in items:
        assert (np.abs(image[inner(item)].astype(int) - 140) <= 3).all()


def test_items_that_cross_take_their_shares_one_after_the_other():
    side = 128
    image = np.full((side, side, 3), 200, np.uint8)
    scan = image.copy()
    frame = Frame((0, 0, side, side), (side, side))
    bars = np.zeros((2, side, side), bool)
    bars[0, 56:72, 24:104] = bars[1, 24:104, 56:72] = True
    for bar, target in zip(bars, [(16, 48, 112, 80), (48, 16, 80, 112)], strict=True):
        x1, y1, x2, y2 = target
        cells = np.zeros((side, side), bool)
        cells[y1:y2, x1:x2] = True
        decoded = scan.astype(np.float32)
        decoded[bar] *= 0.6
        put_back(image, scan, frame, decoded, cells, [target], [glow(bar)], "keep")
    both, one = bars[0] & bars[1], bars[0] ^ bars[1]
    assert (np.abs(image[inner(both)] - muted([0.6] * 3, 200, 200 * 0.6)) <= 4).all()
    assert (np.abs(image[inner(bars[0]) & one].astype(int) - 200 * 0.6) <= 4).all()
    assert (image[~cv2.dilate(np.uint8(bars.any(0)), np.ones((7, 7))).astype(bool)] == 200).all()


def test_a_repainted_box_loses_the_autoencoders_shift_of_colour():
    scan = np.random.default_rng(0).integers(100, 160, (128, 128, 3), np.uint8)
    scan = cv2.GaussianBlur(scan, (0, 0), 3)
    image, frame = scan.copy(), Frame((0, 0, 128, 128), (128, 128))
    cells = np.zeros((128, 128), bool)
    cells[48:80, 48:80] = True
    shifted, box = scan.astype(np.float32) - 20, (48.0, 48.0, 80.0, 80.0)
    put_back(image, scan, frame, shifted, cells, [box], [glow(cells)], "repaint")
    off = np.abs(image.astype(int) - scan)
    # in full beside what is known, less and less further in
    for edge in (off[48:50, 48:80], off[78:80, 48:80], off[48:80, 48:50], off[48:80, 78:80]):
        assert edge.max() <= 5
    assert off[60:68, 60:68].min() >= 15
