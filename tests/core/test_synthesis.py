"""The whole chain on random weights: what changes, what stays, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from xsyn_core import boxes, painter, refinement, synthesis
from xsyn_core.categories import PIDRAY
from xsyn_core.compositing import FEATHER, put_back
from xsyn_core.concealment import place, to_tensor
from xsyn_core.errors import XsynError
from xsyn_core.frames import repainted_cells
from xsyn_core.refinement import Refinement
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import Annotation, make_scan
from xsyn_core.segmentation import Segment
from xsyn_core.synthesis import Synthesizer

GUN = Grounding("Gun", (150.0, 100.0, 200.0, 140.0))
FAST = Request((GUN,), steps=2)


@pytest.fixture(scope="module")
def synthesizer(drawn_models):
    return Synthesizer(drawn_models)


def finish(run):
    *_, last = run
    return last.result


@pytest.fixture(scope="module")
def painting(synthesizer, drawn_scan):
    return synthesizer.refine(finish(synthesizer.paint(drawn_scan, FAST)))


def region(size, targets, margin):
    mask = np.zeros(size, bool)
    for box in targets:
        x1, y1, x2, y2 = boxes.outward(boxes.clip(boxes.expand(box, margin), size))
        mask[y1:y2, x1:x2] = True
    return mask


@pytest.mark.parametrize("frame", ["window", "whole"])
@pytest.mark.parametrize("mode", ["latent", "every-step", "pixel"])
def test_the_background_stays_pixel_for_pixel(synthesizer, drawn_scan, frame, mode):
    request = replace(FAST, frame=frame, occlusion=mode)
    sample = synthesizer.synthesize(drawn_scan, request)
    changed = (sample.image != drawn_scan.pixels).any(-1)
    assert changed[100:140, 150:200].mean() > 0.5
    allowed = region(drawn_scan.size, [GUN.box, *sample.occlusion.occluded], FEATHER)
    assert not (changed & ~allowed).any()
    assert sample.image.shape == drawn_scan.pixels.shape and sample.image.dtype == np.uint8
    assert sample.kept == drawn_scan.annotations
    assert sample.prompt == "gun"
    assert len(sample.weights) == 64
    # Eq. 8: the painted item and the annotated one.
    assert len(sample.occlusion.occluded) == 2
    if mode != "every-step":
        clear = (sample.clear != drawn_scan.pixels).any(-1)
        assert not (clear & ~region(drawn_scan.size, [GUN.box], FEATHER)).any()


def test_the_same_request_gives_the_same_bytes(synthesizer, drawn_scan, drawn_models):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one = synthesizer.synthesize(drawn_scan, FAST)
    two = Synthesizer(drawn_models).synthesize(drawn_scan, FAST)
    assert np.array_equal(one.image, two.image) and np.array_equal(one.clear, two.clear)
    assert one.objects == two.objects and one.occlusion == two.occlusion
    other = finish(synthesizer.paint(drawn_scan, replace(FAST, seed=1)))
    assert not np.array_equal(one.clear, other.clear)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_alpha_alone_moves_nothing(synthesizer, painting):
    weak, strong = (synthesizer.occlude(painting, a) for a in (0.2, 0.9))
    assert weak.occlusion.occluded == strong.occlusion.occluded
    assert weak.occlusion.occluder == strong.occlusion.occluder
    assert weak.objects == strong.objects == painting.objects
    shift = [np.abs(s.image.astype(int) - s.clear).sum() for s in (weak, strong)]
    assert 0 < shift[0] < shift[1]


def test_blended_at_every_step_with_an_alpha_of_0_it_is_the_clear_image(synthesizer, drawn_scan):
    plain = finish(synthesizer.paint(drawn_scan, replace(FAST, occlude=False)))
    request = replace(FAST, occlusion="every-step", alpha=0.0)
    hidden = synthesizer.refine(finish(synthesizer.paint(drawn_scan, request)))
    assert torch.equal(hidden.windows[0].latents, plain.windows[0].latents)
    assert len(hidden.occlusion.occluded) == 2
    sample = synthesizer.occlude(hidden, 0.0, mode="every-step")
    assert np.array_equal(sample.image, plain.clear) and sample.clear is sample.image
    seen = finish(synthesizer.paint(drawn_scan, replace(request, alpha=0.7)))
    assert not torch.equal(seen.windows[0].latents, plain.windows[0].latents), (
        "painted in its sight"
    )
    strong = synthesizer.synthesize(drawn_scan, replace(request, alpha=0.7))
    assert not np.array_equal(strong.image, plain.clear)


def test_z_0_is_the_original_beside_what_is_blended_at_every_step(synthesizer, drawn_scan):
    model = synthesizer.models.diffusion
    request = replace(FAST, occlusion="every-step", alpha=0.9)
    window = finish(synthesizer.paint(drawn_scan, request)).windows[0]
    image = to_tensor(window.frame.cut(drawn_scan.pixels))
    outside = ~torch.from_numpy(repainted_cells(window.frame, [GUN.box], model.factor))
    assert torch.equal(window.latents[:, outside], model.encode(image[None])[0][:, outside])


@pytest.mark.parametrize("mode", ["latent", "pixel"])
def test_alpha_0_is_the_clear_image(synthesizer, painting, mode):
    assert np.array_equal(synthesizer.occlude(painting, 0.0, mode=mode).image, painting.clear)
    off = synthesizer.occlude(painting, 0.5, enabled=False)
    assert off.occlusion is None and np.array_equal(off.image, painting.clear)


def test_occluder_and_placement_are_choices_of_their_own(synthesizer, painting):
    candidates = synthesizer.occluders(painting)
    assert len(candidates) == 2
    found = [synthesizer.occlude(painting, occluder=k).occlusion for k in range(3)]
    assert [o.occluder for o in found] == [s.box for s in (*candidates, candidates[0])]
    placed = {synthesizer.occlude(painting, placement=k).occlusion.occluded for k in range(5)}
    assert len(placed) > 1


def test_occluders_are_no_smaller_than_the_catalogue_keeps(synthesizer, painting):
    areas = sorted(boxes.area(s.box) for s in synthesizer.occluders(painting))
    height, width = painting.scan.size
    larger = replace(PIDRAY, min_area_ratio=(areas[0] + 1) / (height * width))
    asked = replace(painting, request=replace(painting.request, catalog=larger))
    assert [boxes.area(s.box) for s in synthesizer.occluders(asked)] == areas[1:]


def test_objects_say_how_they_came_about(drawn_scan, painting):
    (item,) = painting.objects
    x1, y1, x2, y2 = item.window
    assert item.attention.shape == item.region.shape == (y2 - y1, x2 - x1)
    assert item.attention.dtype == np.float32 and (item.attention >= 0).all()
    assert item.category == "Gun" and item.grounding == GUN.box
    assert item.points.shape == (16, 2) and len(item.labels) == 16
    assert item.mask is None or item.mask.shape == drawn_scan.size


def test_refining_again_changes_points_only(synthesizer, painting):
    again = synthesizer.refine(painting, divisions=2, points="topk")
    assert len(again.objects[0].labels) == 4
    assert again.request.divisions == 2 and again.request.points == "topk"
    assert again.clear is painting.clear
    with pytest.raises(XsynError, match="divisions"):
        synthesizer.refine(painting, divisions=9)


def test_previews_come_now_and_then_and_closing_stops(synthesizer, drawn_scan):
    run = synthesizer.paint(drawn_scan, replace(FAST, steps=12))
    seen = [next(run) for _ in range(4)]
    assert [p.step for p in seen] == [1, 2, 3, 4] and all(p.steps == 12 for p in seen)
    assert [p.preview is None for p in seen] == [True, False, True, False]
    assert seen[1].preview.shape == drawn_scan.pixels.shape
    run.close()
    processors = synthesizer.models.diffusion.unet.attn_processors.values()
    assert {type(p).__name__ for p in processors} == {"AttnProcessor2_0"}


def test_several_items_in_several_windows(synthesizer, drawn_scan):
    request = replace(
        FAST,
        groundings=(
            GUN,
            Grounding("Bullet", (30.0, 180.0, 50.0, 200.0)),
            Grounding("Gun", (195.0, 110.0, 230.0, 150.0)),
        ),
    )
    shared = synthesizer.synthesize(drawn_scan, replace(request, background="repaint"))
    assert [o.category for o in shared.objects] == ["Gun", "Bullet", "Gun"]
    assert shared.objects[0].window == shared.objects[2].window != shared.objects[1].window
    # what is laid upon the scan is painted by itself
    sample = synthesizer.synthesize(drawn_scan, request)
    assert [o.category for o in sample.objects] == ["Gun", "Bullet", "Gun"]
    assert len({o.window for o in sample.objects}) == 3
    assert sample.prompt == "gun, bullet, gun"
    changed = (sample.clear != drawn_scan.pixels).any(-1)
    allowed = region(drawn_scan.size, [g.box for g in request.groundings], FEATHER)
    assert changed[185:195, 35:45].any() and not (changed & ~allowed).any()


def test_each_window_is_told_what_others_occlude(synthesizer, drawn_scan, monkeypatch):
    told, placed = [], []

    def spy(*arguments):
        told.append(list(arguments[-1]))
        placed.append(place(*arguments))
        return placed[-1]

    monkeypatch.setattr(synthesis, "place", spy)
    near = Grounding("Bullet", (160.0, 110.0, 190.0, 150.0))
    synthesizer.synthesize(drawn_scan, replace(FAST, groundings=(GUN, near)))
    assert len(told) >= 2 and told[0] == []
    for k in range(1, len(told)):
        assert told[k] == told[k - 1] + placed[k - 1].areas(drawn_scan.size)
    assert len(told[-1]) > 0


def test_modifying_replaces_the_annotation(synthesizer, drawn_scan):
    knife = drawn_scan.annotations[0]
    request = replace(FAST, variant="modify", groundings=(Grounding("Knife", knife.box),))
    sample = synthesizer.synthesize(drawn_scan, request)
    assert sample.kept == () and len(sample.occlusion.occluded) == 1
    with pytest.raises(XsynError, match="to modify"):
        finish(synthesizer.paint(drawn_scan, replace(FAST, variant="modify")))


def test_what_is_modified_lies_where_the_annotated_item_is_gone(synthesizer, drawn_scan):
    (knife,) = drawn_scan.annotations
    mask = region(drawn_scan.size, [knife.box], 0)
    scan = replace(drawn_scan, annotations=(replace(knife, mask=mask),))
    request = replace(FAST, variant="modify", groundings=(Grounding("Gun", knife.box),))
    painting = finish(synthesizer.paint(scan, request))
    assert (painting.behind[mask] == (230, 200, 150)).all()
    changed = (painting.clear != scan.pixels).any(-1)
    assert changed[mask].all() and not changed[~region(scan.size, [knife.box], FEATHER)].any()
    repainted = finish(synthesizer.paint(scan, replace(request, background="repaint")))
    assert (repainted.behind == scan.pixels).all()


def test_a_scan_smaller_than_its_window(synthesizer, drawn_scan):
    small = make_scan(np.ascontiguousarray(drawn_scan.pixels[30:100, 30:110]), "small.png")
    request = replace(FAST, groundings=(Grounding("Gun", (5.0, 5.0, 70.0, 40.0)),))
    sample = synthesizer.synthesize(small, request)
    changed = (sample.clear != small.pixels).any(-1)
    assert changed.any()
    assert not (changed & ~region(small.size, [request.groundings[0].box], FEATHER)).any()


def test_without_an_occluder_the_sample_says_so(synthesizer):
    plain = make_scan(np.full((120, 160, 3), 200, np.uint8), "plain.png")
    sample = synthesizer.synthesize(
        plain, replace(FAST, groundings=(Grounding("Gun", (50.0, 40.0, 90.0, 80.0)),))
    )
    assert sample.occlusion is None and np.array_equal(sample.image, sample.clear)
    assert any("occluder" in note for note in sample.notes)
    with pytest.raises(XsynError, match="idle region"):
        synthesizer.propose(plain, PIDRAY, 0)


def test_an_item_that_cannot_be_seen_is_told(synthesizer, drawn_scan):
    places = (
        Grounding("Gun", (20.0, 20.0, 70.0, 60.0)),
        Grounding("Knife", (90.0, 60.0, 140.0, 99.0)),
    )
    request = replace(FAST, groundings=places, occlude=False)
    painting = finish(synthesizer.paint(drawn_scan, request))
    clear = drawn_scan.pixels.copy()
    clear[61:98, 91:139] //= 2
    clear[20:60, 20:70] += np.uint8(1) * (clear[20:60, 20:70] < 255)
    notes = synthesizer.occlude(replace(painting, clear=clear), enabled=False).notes
    (note,) = (n for n in notes if "Hardly" in n)
    assert "Gun" in note and "another seed" in note


def test_proposals_come_from_idle_regions(synthesizer, drawn_scan):
    idle = {s.box for s in synthesizer.idle(drawn_scan, PIDRAY)}
    assert len(idle) == 2
    proposals = [synthesizer.propose(drawn_scan, PIDRAY, seed) for seed in range(10)]
    assert {p.box for p in proposals} == idle
    assert synthesizer.propose(drawn_scan, PIDRAY, 3) == proposals[3]


def test_proposals_and_first_occluders_lie_in_the_baggage(drawn_models, painting):
    size = 400, 400
    pixels = np.full((*size, 3), 255, np.uint8)
    pixels[60:340, 60:340] = (230, 190, 120)

    def segment(x1, y1, x2, y2):
        mask = np.zeros(size, bool)
        mask[y1:y2, x1:x2] = True
        return Segment(mask, (x1, y1, x2, y2), int(mask.sum()), 0.9, 0.95)

    air, body = segment(0, 0, 400, 400), segment(60, 60, 340, 340)
    wheel, corner = segment(80, 340, 110, 370), segment(310, 310, 370, 370)
    shoe, book = segment(90, 90, 200, 140), segment(200, 220, 300, 300)
    clothes = segment(70, 70, 320, 300)
    synthesizer = Synthesizer(drawn_models)
    scan = make_scan(pixels, "case.png")
    found = [air, body, wheel, corner, clothes, shoe, book]
    synthesizer.segments = lambda scan: found
    assert len(synthesizer.idle(scan, PIDRAY)) == 5
    places = {synthesizer.propose(scan, PIDRAY, seed).box for seed in range(20)}
    assert places == {shoe.box, book.box}
    # the book covers a twentieth of the scan
    small = replace(PIDRAY, max_area_ratio=0.045)
    assert {synthesizer.propose(scan, small, seed).box for seed in range(20)} == {shoe.box}
    for seed in range(10):
        assert synthesizer.propose(scan, PIDRAY, seed, [(95, 95, 99, 99)]).box == book.box
        elsewhere = synthesizer.propose(scan, PIDRAY, seed, [shoe.box, book.box]).box
        assert elsewhere in (wheel.box, corner.box)
    with pytest.raises(XsynError, match="no idle region left that keeps clear of the boxes"):
        synthesizer.propose(scan, PIDRAY, 0, [air.box])
    request = replace(FAST, groundings=(Grounding("Gun", (120.0, 250.0, 150.0, 280.0)),))
    elsewhere = replace(painting, scan=scan, request=request)
    # the wheel and the corner are as large as the grounding box, but the item would fade there
    assert [s.box for s in synthesizer.occluders(elsewhere)] == [
        s.box for s in (shoe, book, clothes, wheel, corner)
    ]
    # of a larger item one in the bag that is as large comes first
    large = replace(FAST, groundings=(Grounding("Gun", (80.0, 160.0, 180.0, 240.0)),))
    found_for = [s.box for s in synthesizer.occluders(replace(elsewhere, request=large))]
    assert found_for == [s.box for s in (book, shoe, clothes, corner, wheel)]
    # a key ring in the shoe would be hidden by whatever goes there, the blanket around all is not
    known = (
        Annotation("Bullet", (100.0, 100.0, 120.0, 115.0)),
        Annotation("Gun", (70.0, 70.0, 320.0, 300.0), iscrowd=True),
    )
    annotated = make_scan(pixels, "annotated.png", known)
    assert shoe.box in {s.box for s in synthesizer.idle(annotated, PIDRAY)}
    for seed in range(10):
        assert synthesizer.propose(annotated, PIDRAY, seed).box == book.box
    found[4:] = []
    places = {synthesizer.propose(scan, PIDRAY, seed).box for seed in range(20)}
    assert places == {wheel.box, corner.box}


def test_what_is_unusual_is_noted(synthesizer, drawn_scan):
    request = replace(FAST, groundings=(Grounding("Bullet", (40.0, 40.0, 95.0, 78.0)),))
    (note,) = finish(synthesizer.paint(drawn_scan, request)).notes
    assert "annotated Knife" in note
    request = replace(FAST, groundings=(Grounding("Bullet", (150.0, 100.0, 156.0, 106.0)),))
    assert "smaller" in finish(synthesizer.paint(drawn_scan, request)).notes[0]
    assert finish(synthesizer.paint(drawn_scan, FAST)).notes == ()
    whole = replace(FAST, frame="whole")
    (note,) = finish(synthesizer.paint(drawn_scan, whole)).notes
    share = synthesizer.models.diffusion.side / 320
    assert f"{share:.0%} of its size" in note and "Window" in note
    corner = make_scan(np.ascontiguousarray(drawn_scan.pixels[80:150, 130:210]), "corner.png")
    inside = replace(whole, groundings=(Grounding("Gun", (20.0, 20.0, 70.0, 60.0)),))
    assert finish(synthesizer.paint(corner, inside)).notes == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"groundings": ()}, "Nothing to paint"),
        ({"groundings": (Grounding("Gun", (20, 30, 10, 40)),)}, "inverted"),
        ({"groundings": (Grounding("Sword", (20, 30, 60, 80)),)}, "not a category"),
        ({"steps": 0}, "steps"),
        ({"alpha": 1.5}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"seed": -1}, "seed"),
        ({"guidance": float("inf")}, "guidance"),
        ({"sampler": "euler"}, "sampler"),
        ({"frame": "tile"}, "frame"),
        ({"variant": "erase"}, "variant"),
        ({"points": "all"}, "points"),
        ({"occlusion": "paint"}, "occlusion"),
        ({"occluder": -1}, "occluder"),
    ],
)
def test_bad_requests_are_refused_with_words(synthesizer, drawn_scan, change, words):
    with pytest.raises(XsynError, match=words):
        next(synthesizer.paint(drawn_scan, replace(FAST, **change)))


def test_occlusion_at_every_step_belongs_to_painting(synthesizer, drawn_scan, painting):
    with pytest.raises(XsynError, match="paint again"):
        synthesizer.occlude(painting, 0.3, mode="every-step")
    inside = finish(synthesizer.paint(drawn_scan, replace(FAST, occlusion="every-step")))
    assert not np.array_equal(inside.clear, painting.clear)
    sample = synthesizer.occlude(inside, 0.3, mode="every-step")
    assert np.array_equal(sample.image, inside.clear) and sample.occlusion == inside.occlusion
    with pytest.raises(XsynError, match="paint again"):
        synthesizer.occlude(inside, 0.4, mode="every-step")
    with pytest.raises(XsynError, match="paint again"):
        synthesizer.occlude(inside, enabled=False)


def test_annotated_items_and_crowds(synthesizer, drawn_scan):
    crowd = Annotation("Gun", (60.0, 150.0, 120.0, 200.0), iscrowd=True)
    scan = make_scan(drawn_scan.pixels, "crowd.png", (crowd,))
    sample = synthesizer.synthesize(scan, FAST)
    assert sample.kept == (crowd,) and len(sample.occlusion.occluded) == 1


def test_labels_are_pixels_of_the_scan_and_each_item_has_its_own_map(
    synthesizer, drawn_scan, painting, monkeypatch
):
    # the first lies in the window of another painting that was refined before
    places = (GUN, Grounding("Bullet", (30.0, 170.0, 60.0, 200.0)))
    painting = finish(synthesizer.paint(drawn_scan, replace(FAST, groundings=places, seed=1)))
    asked = []

    def answer(segmenter, image, attention, box, *_, embedding):
        asked.append((image, attention))
        assert torch.equal(embedding.features, segmenter.embed(image).features)
        x1, y1, x2, y2 = boxes.outward(box)
        mask = np.zeros(attention.shape, bool)
        mask[y1 : y2 - 3, x1 + 2 : x2] = True
        points = np.array([[x1 + 2, y1], [0, 0]])
        return Refinement(boxes.of_mask(mask), mask, mask, points, np.array([1, 0]))

    monkeypatch.setattr(refinement, "refine", answer)
    found = synthesizer.refine(painting).objects
    for item, grounded, (image, attention), own in zip(
        found, places, asked, painting.attention, strict=True
    ):
        x1, y1, x2, y2 = grounded.box
        assert item.refined == boxes.of_mask(item.mask) == (x1 + 2, y1, x2, y2 - 3)
        assert item.mask.shape == drawn_scan.size
        left, top, right, bottom = item.window
        assert item.points.tolist() == [[x1 + 2, y1], [left, top]]
        assert np.array_equal(image, painting.clear[top:bottom, left:right])
        assert attention is own and item.attention is own


def test_a_label_that_fits_badly_what_was_painted_is_told(synthesizer, drawn_scan, monkeypatch):
    elsewhere = Grounding("Bullet", (30.0, 170.0, 60.0, 200.0))
    request = replace(FAST, groundings=(GUN, elsewhere))
    painting = finish(synthesizer.paint(drawn_scan, request))
    behind = np.full_like(painting.behind, 200)
    clear = behind.copy()
    clear[100:120, 150:200] = 90
    painting = replace(painting, behind=behind, clear=clear)
    told = {}

    def answer(segmenter, image, attention, box, *_, embedding):
        x1, y1, x2, _ = boxes.outward(box)
        mask = np.zeros(attention.shape, bool)
        mask[y1 : y1 + told["rows"], x1:x2] = True
        doubted = None if told["kept"] else mask
        return Refinement(boxes.of_mask(mask), doubted, mask, np.zeros((0, 2)), np.zeros(0), ("a",))

    monkeypatch.setattr(refinement, "refine", answer)

    def badly(painting, rows, kept=False):
        told.update(rows=rows, kept=kept)
        first, *others = synthesizer.refine(painting).objects
        # nothing is seen of the other one, which is told elsewhere
        assert all(other.flags == ("a",) for other in others)
        assert first.flags[0] == "a"
        return any("fits badly" in flag for flag in first.flags[1:])

    # the item is 20 rows high, its soft edge one or two more
    assert [badly(painting, rows) for rows in (20, 32, 14)] == [False] * 3
    assert badly(painting, 38) and badly(painting, 9)
    assert not badly(painting, 40, kept=True)
    repainted = replace(painting.request, background="repaint")
    assert not badly(replace(painting, request=repainted), 40)
    beside = replace(elsewhere, box=(190.0, 90.0, 230.0, 130.0))
    crossing = finish(synthesizer.paint(drawn_scan, replace(FAST, groundings=(GUN, beside))))
    assert not badly(replace(crossing, behind=behind, clear=clear), 38)


def test_every_setting_of_the_denoiser_matters(synthesizer, drawn_scan, painting):
    for change in ({"guidance": 1.0}, {"sampler": "dpm++"}, {"steps": 3}, {"seed": 1}):
        request = replace(FAST, occlude=False, **change)
        other = finish(synthesizer.paint(drawn_scan, request))
        assert not torch.equal(other.windows[0].latents, painting.windows[0].latents), change


def test_known_items_elsewhere_get_windows_of_their_own_that_show_them(synthesizer, drawn_scan):
    model = synthesizer.models.diffusion
    corner = Annotation("Gun", (250.0, 200.0, 290.0, 215.0))
    scan = replace(drawn_scan, annotations=(*drawn_scan.annotations, corner))
    windows = finish(synthesizer.paint(scan, replace(FAST, occlude=False))).windows
    assert windows[0].grounded == (0,) and windows[0].foregrounds == (GUN.box,)
    others = windows[1:]
    assert [w.foregrounds for w in others] == [(a.box,) for a in scan.annotations]
    for window in others:
        x1, y1, x2, y2 = window.foregrounds[0]
        left, top, right, bottom = window.frame.box
        assert left <= x1 < x2 <= right and top <= y1 < y2 <= bottom and window.grounded == ()
        shown = model.encode(to_tensor(window.frame.cut(scan.pixels))[None])[0]
        torch.testing.assert_close(window.latents, shown, atol=1e-4, rtol=1e-4)


def test_each_of_several_items_is_laid_in_by_its_own_map(synthesizer, drawn_scan, monkeypatch):
    seen = []

    def spy(*arguments):
        seen.append((arguments[2], arguments[6]))
        put_back(*arguments)

    monkeypatch.setattr(painter, "put_back", spy)
    places = (GUN, Grounding("Bullet", (30.0, 170.0, 60.0, 200.0)))
    painting = finish(synthesizer.paint(drawn_scan, replace(FAST, groundings=places)))
    for (frame, (own,)), window, wanted in zip(
        seen[-2:], painting.windows, painting.attention, strict=False
    ):
        assert frame == window.frame
        assert np.allclose(np.maximum(frame.restore(own, drawn_scan.size), 0), wanted)


def test_scans_of_one_name_are_told_apart_and_the_catalogue_says_what_is_too_small(
    synthesizer, drawn_scan
):
    turned = make_scan(np.ascontiguousarray(drawn_scan.pixels[::-1, ::-1]), drawn_scan.name)
    here, there = ({s.box for s in synthesizer.idle(scan, PIDRAY)} for scan in (drawn_scan, turned))
    assert (220, 50, 260, 90) in here and (60, 150, 100, 190) in there and not here & there
    least = replace(PIDRAY, min_area_ratio=1601 / (240 * 320))
    assert {s.box for s in synthesizer.idle(drawn_scan, least)} == here - {(220, 50, 260, 90)}


def test_an_occluder_is_that_of_its_own_scan(synthesizer, drawn_scan, drawn_models):
    colours = np.ascontiguousarray(drawn_scan.pixels[..., ::-1])
    other = make_scan(colours, drawn_scan.name, drawn_scan.annotations)
    request = replace(FAST, alpha=0.9)
    here, there = (synthesizer.synthesize(scan, request) for scan in (drawn_scan, other))
    assert here.occlusion.occluder == there.occlusion.occluder
    assert np.array_equal(there.image, Synthesizer(drawn_models).synthesize(other, request).image)
