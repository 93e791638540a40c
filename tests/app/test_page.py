import json
import threading
import zipfile

import numpy as np
import pytest
from browsing import CHROMIUM, Operator, draw_scan, serving
from fakes import FakeSynthesizer
from pycocotools.coco import COCO

from app.scene import scene
from xsyn_core.boxes import area, intersection
from xsyn_core.categories import CATALOGS
from xsyn_core.sample import Grounding
from xsyn_core.scan import read_scan

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def painter():
    return FakeSynthesizer(0.01)


@pytest.fixture(scope="module")
def site(tmp_path_factory, examples, painter):
    workspace = tmp_path_factory.mktemp("workspace")
    with serving(painter, workspace, examples) as address:
        yield address, workspace


@pytest.fixture(scope="module")
def opened(browser, site):
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    yield Operator(context.new_page(), site[0])
    context.close()


@pytest.fixture
def operator(opened):
    yield opened
    opened.calm()
    assert opened.foreign == []
    assert opened.problems == []


def test_whole_story(operator, site, tmp_path):
    page = operator.page
    operator.open_example(0)
    accepted = operator.count("accept")

    operator.draw((120, 90, 240, 190))
    assert page.locator("#xs-boxes .row span").inner_text() == "120 \u00d7 100"
    page.click("[data-do=menu]")
    page.click("[data-category=Gun]")
    # keys are the page's again at once
    assert page.evaluate("document.activeElement === document.body")
    assert page.locator("#xs-boxes select").input_value() == "Gun"

    operator.set_steps(6)
    operator.paint()
    assert "Gun" in page.locator("#xs-findings").inner_text()

    for key in "34578":
        before = operator.picture()
        page.keyboard.press(key)
        operator.wait_changed(before)
    assert page.locator(".xs-legend").is_visible()
    for key in "34578":
        page.keyboard.press(key)

    before = operator.picture()
    page.locator("#xs-alpha input[type=range]").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    operator.wait_changed(before)
    page.locator("canvas").focus()

    before = operator.picture()
    page.keyboard.down("b")
    operator.wait_changed(before)
    page.keyboard.up("b")

    operator.decide("a", "Accepted")
    operator.wait_count("accept", accepted + 1)
    page.keyboard.press("u")
    operator.wait_count("accept", accepted)
    operator.wait_idle()
    operator.decide("a", "Accepted")
    operator.wait_count("accept", accepted + 1)

    before = page.get_attribute(".xs", "data-result")
    seed = int(page.locator("#xs-seed input").input_value())
    page.keyboard.press("n")
    page.wait_for_function(
        "old => !['', old].includes(document.querySelector('.xs').dataset.result)", arg=before
    )
    operator.wait_idle()
    assert operator.boxes() == 1
    assert page.locator("#xs-seed input").input_value() == str(seed + 1)
    operator.decide("r", "Rejected")

    with page.expect_download() as download:
        page.click("[data-do=export]")
        page.click(".xs-sheet a[download]")
    packed = tmp_path / "export.zip"
    download.value.save_as(packed)
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "export")
    data = COCO(str(tmp_path / "export" / "annotations" / "instances.json"))
    assert len(data.getImgIds()) == accepted + 1
    assert data.cats[7]["name"] == "Gun"
    last = data.loadAnns(data.getAnnIds())[-1]
    assert last["category_id"] == 7
    assert (site[1] / "exports" / "pidray" / "annotations" / "instances.json").is_file()
    lines = (tmp_path / "export" / "provenance.jsonl").read_text().splitlines()
    assert len(lines) == accepted + 1
    assert abs(json.loads(lines[-1])["settings"]["alpha"] - 0.5) < 0.021


def test_everything_computes_in_one_thread(operator, painter, monkeypatch):
    where = {}

    def watch(name):
        method = getattr(painter, name)

        def watched(*given, **named):
            where.setdefault(name, set()).add(threading.get_ident())
            return method(*given, **named)

        monkeypatch.setattr(painter, name, watched)

    def paint(*given, method=painter.paint):
        for progress in method(*given):
            where.setdefault("paint", set()).add(threading.get_ident())
            yield progress

    for name in ("idle", "propose", "refine", "occlude"):
        watch(name)
    monkeypatch.setattr(painter, "paint", paint)
    page = operator.page
    operator.open_example(1)
    page.keyboard.press("p")
    operator.wait_boxes(1)
    operator.set_steps(6)
    operator.paint()
    before = operator.picture()
    page.locator("#xs-alpha input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    operator.wait_changed(before)
    assert set(where) == {"idle", "propose", "paint", "refine", "occlude"}
    assert len(set.union(*where.values())) == 1


def test_region_click_move_delete_undo(operator, examples, painter):
    page = operator.page
    operator.open_example(1)
    region = painter.idle(read_scan(examples / "bag-1.png"), "pidray")[-1]
    ys, xs = region.mask.nonzero()
    middle = len(xs) // 2
    page.mouse.move(*operator.at(xs[middle] + 0.5, ys[middle] + 0.5))
    page.mouse.click(*operator.at(xs[middle] + 0.5, ys[middle] + 0.5))
    operator.wait_boxes(1)
    width, height = (round(region.box[i + 2] - region.box[i]) for i in (0, 1))
    assert page.locator("#xs-boxes .row span").inner_text() == f"{width} \u00d7 {height}"
    size = page.locator("#xs-boxes .row span").inner_text()
    before = operator.picture()
    page.keyboard.press("ArrowRight")
    operator.wait_changed(before)
    assert page.locator("#xs-boxes .row span").inner_text() == size
    page.keyboard.press("Delete")
    operator.wait_boxes(0)
    page.keyboard.press("Control+z")
    operator.wait_boxes(1)
    page.keyboard.press("Control+y")
    operator.wait_boxes(0)


def test_the_next_proposal_is_told_of_the_boxes(operator, painter, monkeypatch):
    asked = []

    def propose(scan, catalog, rng, taken=()):
        asked.append([tuple(box) for box in taken])
        return Grounding("Gun", (30.0, 40.0, 90.0, 100.0))

    monkeypatch.setattr(painter, "propose", propose)
    operator.open_example(1)
    operator.draw((150, 160, 220, 210))
    for count in (2, 3):
        operator.page.keyboard.press("p")
        operator.wait_boxes(count)
    (drawn,), (same, proposed) = asked
    assert drawn == same and np.abs(np.subtract(drawn, (150, 160, 220, 210))).max() <= 2
    assert proposed == (30, 40, 90, 100)


def test_what_fits_a_box_counts_in_scans_of_the_datasets_size(operator):
    operator.open_example(0)
    operator.draw((100, 100, 198, 198))
    told = operator.page.locator("#xs-boxes optgroup[label='Fits this size'] option")
    width, height = map(int, operator.page.inner_text("#xs-boxes .row span").split(" \u00d7 "))
    assert width * height < 10_000
    names = CATALOGS["pidray"].fitting((0, 0, width, height), (320, 420))
    assert tuple(name.replace(" ", "_") for name in told.all_inner_texts()) == names
    assert names != CATALOGS["pidray"].candidates(width * height)


def test_a_label_takes_one_line(operator):
    operator.open_example(0)
    operator.draw((100, 100, 277, 252))
    page = operator.page
    page.select_option("#xs-boxes select", "Powerbank")
    operator.paint()
    line = page.locator("#xs-findings .found")
    assert "Powerbank" in line.inner_text() and "IoU" in line.inner_text()
    assert line.bounding_box()["height"] < 25


def test_resize_by_a_handle(operator):
    operator.open_example(0)
    operator.draw((100, 100, 180, 160))
    page = operator.page
    page.mouse.move(*operator.at(180, 160))
    page.mouse.down()
    page.mouse.move(*operator.at(200, 170))
    page.mouse.move(*operator.at(220, 180))
    page.mouse.up()
    page.wait_for_function(
        "document.querySelector('#xs-boxes .row span').textContent === '120 \u00d7 80'"
    )


@pytest.mark.parametrize("width", [1920, 1366, 1024, 820])
def test_no_button_lies_on_another(operator, width):
    page = operator.page
    operator.open_example(0)
    page.set_viewport_size({"width": width, "height": 768})
    try:
        boxes = page.evaluate(
            """() => [...document.querySelectorAll('.xs-top button, .xs-tools button')].map(
                e => e.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"""
        )
    finally:
        page.set_viewport_size({"width": 1366, "height": 768})
    assert len(boxes) > 10
    for k, box in enumerate(boxes):
        assert box[0] >= 0 and box[2] <= width
        assert all(area(intersection(box, other)) == 0 for other in boxes[:k])


def test_a_telephone_shows_the_whole_page(browser, site):
    size = {"width": 390, "height": 800}
    context = browser.new_context(viewport=size, is_mobile=True, has_touch=True)
    page = context.new_page()
    Operator(page, site[0])
    width, right = page.evaluate(
        "[innerWidth, document.querySelector('#xs-generate').getBoundingClientRect().right]"
    )
    canvas = page.locator("[data-el=view]").bounding_box()
    context.close()
    assert right <= width and canvas["width"] > 500


def test_stop_keeps_the_boxes(operator, painter):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    painter.pause = 1.0
    page.keyboard.press("g")
    page.wait_for_selector("#xs-stop", state="visible")
    page.click("#xs-stop")
    operator.wait_idle()
    painter.pause = 0.01
    assert operator.boxes() == 1
    assert page.get_attribute(".xs", "data-result") == ""


def test_large_items_are_said_to_be_finished(operator, painter):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    painter.finishing = 1.0
    page.keyboard.press("g")
    page.wait_for_selector("[data-el=status]:has-text('Finishing in detail')")
    operator.wait_idle()
    painter.finishing = 0.0
    assert page.get_attribute(".xs", "data-result") != ""


def test_catalogue_changes_the_names(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    page.click("#xs-catalog input")
    page.click("[data-testid=dropdown-option]:has-text('OPIXray')")
    page.wait_for_function(
        "[...document.querySelectorAll('#xs-boxes option')].some(o => o.value === 'Folding_Knife')"
    )
    names = page.locator("#xs-boxes option").all_inner_texts()
    assert sorted(names) == sorted(
        ["Folding Knife", "Straight Knife", "Scissor", "Utility Knife", "Multi-tool Knife"]
    )
    page.click("#xs-catalog input")
    page.click("[data-testid=dropdown-option]:has-text('PIDray')")
    page.wait_for_function("[...document.querySelectorAll('#xs-boxes option')].length === 12")
    operator.wait_idle()


def test_late_boxes_join_those_drawn_meanwhile(operator):
    page = operator.page
    operator.open_example(0)
    with operator.held() as let_go:
        page.keyboard.press("p")
        operator.draw((30, 30, 90, 80))
        page.mouse.move(*operator.at(300, 200))
        page.mouse.down()
        page.mouse.move(*operator.at(340, 240))
        let_go()
    operator.wait_boxes(2)
    page.mouse.move(*operator.at(360, 280))
    page.mouse.up()
    operator.wait_boxes(3)
    sizes = page.locator("#xs-boxes .row span").all_inner_texts()
    assert sizes[0] == "60 \u00d7 50" and sizes[2] == "60 \u00d7 80"
    for left in (2, 1):
        page.keyboard.press("Control+z")
        operator.wait_boxes(left)
    assert page.locator("#xs-boxes .row span").inner_text() == "60 \u00d7 50"


def test_boxes_drawn_after_a_change_of_mode_stay(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((30, 30, 90, 80))
    operator.draw((120, 30, 200, 80))
    with operator.held() as let_go:
        page.click("#xs-variant label:has-text('Modify')")
        operator.draw((30, 200, 90, 280))
        page.mouse.move(*operator.at(160, 55))
        page.mouse.down()
        page.mouse.move(*operator.at(170, 65))
        page.mouse.move(*operator.at(180, 75))
        let_go()
    # The first box made room, the second is in the operator's hand.
    operator.wait_boxes(2)
    page.mouse.move(*operator.at(200, 95))
    page.mouse.up()
    assert operator.boxes() == 2
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    operator.wait_boxes(3)
    page.click("#xs-variant label:has-text('Add')")
    operator.wait_boxes(0)


def test_an_answer_about_the_scan_before_comes_too_late(operator, monkeypatch):
    page = operator.page
    made, due = threading.Event(), threading.Event()

    def slow_to_send(session, finding=None):
        found = scene(session, finding)
        if finding is None and not made.is_set():
            made.set()
            due.wait(60)
        return found

    monkeypatch.setattr("app.placing.scene", slow_to_send)
    page.locator("[data-place]").nth(0).click()
    assert made.wait(60)
    page.locator("[data-place]").nth(1).click()
    page.wait_for_function("document.querySelector('[data-el=title]').textContent === 'bag-1.png'")
    operator.draw((120, 90, 240, 190))
    due.set()
    operator.wait_idle()
    assert page.locator("[data-el=title]").inner_text() == "bag-1.png"
    assert operator.boxes() == 1


def test_bad_upload_shows_a_message(operator, tmp_path):
    bad = tmp_path / "<b>notes.png"
    bad.write_text("no picture")
    operator.page.set_input_files("input[type=file][data-el=file]", str(bad))
    assert "not an image" in operator.toast()
    assert "<b>" in operator.toast()


def test_upload_joins_the_shelf(operator, tmp_path):
    shelf = operator.page.locator("[data-place]").count()
    paths = [str(draw_scan(tmp_path / f"mine-{i}.png", 7 + i)) for i in range(2)]
    operator.page.set_input_files("input[type=file][data-el=file]", paths)
    operator.page.wait_for_function(
        "document.querySelector('[data-el=title]').textContent === 'mine-0.png'"
    )
    assert operator.page.locator("[data-place]").count() == shelf + 2


def test_generate_without_a_box_says_so(operator):
    operator.open_example(0)
    operator.page.keyboard.press("g")
    operator.page.wait_for_selector("[data-testid=toast-text]")
    assert "no box yet" in operator.toast()


def test_two_browsers_are_strangers(operator, browser, site):
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    context = browser.new_context()
    other = Operator(context.new_page(), site[0])
    assert other.page.locator("[data-el=title]").inner_text() == "No scan open"
    assert other.boxes() == 0
    context.close()


def test_reload_keeps_the_records(operator):
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    operator.paint()
    skipped = operator.count("skip")
    operator.decide("s", "Skipped")
    operator.wait_count("skip", skipped + 1)
    operator.page.reload()
    operator.page.wait_for_selector("#xs-boxes p")
    operator.wait_count("skip", skipped + 1)
    operator.page.click("[data-tab=skip]")
    operator.page.locator("[data-record]").first.click()
    operator.page.wait_for_selector(".xs-corner:has-text('Skipped')")
    operator.decide("a", "Accepted")
    operator.wait_count("skip", skipped)


def test_letters_typed_into_a_field_decide_nothing(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    operator.paint()
    rejected = operator.count("reject")
    page.locator("#xs-seed input").focus()
    page.keyboard.press("r")
    page.locator("canvas").focus()
    operator.decide("s", "Skipped")
    assert operator.count("reject") == rejected


def test_annotations_are_modified(operator, tmp_path):
    page = operator.page
    file = tmp_path / "instances.json"
    file.write_text(
        json.dumps(
            {
                "images": [
                    {"id": 1, "file_name": "bag-0.png", "width": 420, "height": 320},
                    {"id": 2, "file_name": "bag-1.png", "width": 420, "height": 320},
                ],
                "categories": [{"id": 7, "name": "Gun"}],
                "annotations": [
                    {"id": 1, "image_id": 1, "category_id": 7, "bbox": [100, 80, 90, 60]},
                    {"id": 2, "image_id": 2, "category_id": 7, "bbox": [50, 80, 70, 50]},
                ],
            }
        )
    )
    operator.open_example(0)
    page.click("#xs-variant label:has-text('Modify')")
    page.set_input_files("input[type=file][data-el=labels]", str(file))
    operator.wait_boxes(1)
    assert page.locator("#xs-boxes .row span").inner_text() == "90 \u00d7 60"
    operator.wait_idle()
    operator.paint()
    operator.open_example(1)
    page.click("#xs-variant label:has-text('Add')")
    operator.wait_boxes(0)
    page.click("#xs-variant label:has-text('Modify')")
    operator.wait_boxes(1)
    assert page.locator("#xs-boxes .row span").inner_text() == "70 \u00d7 50"
    # what can be modified is proposed, in the place of what was drawn
    page.click("#xs-boxes .row [data-act=delete]")
    operator.wait_boxes(0)
    operator.draw((200, 100, 330, 200))
    page.keyboard.press("p")
    page.wait_for_selector("#xs-boxes .row span:has-text('70 \u00d7 50')")
    assert operator.boxes() == 1
    page.click("#xs-variant label:has-text('Add')")
    operator.wait_boxes(0)


def test_a_scan_opens_though_nothing_in_it_can_be_modified(operator, tmp_path):
    page = operator.page
    file = tmp_path / "instances.json"
    file.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "bag-1.png", "width": 420, "height": 320}],
                "categories": [{"id": 7, "name": "Gun"}],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [50, 80, 3, 3]}],
            }
        )
    )
    page.click("#xs-variant label:has-text('Modify')")
    operator.open_example(1)
    page.set_input_files("input[type=file][data-el=labels]", str(file))
    page.wait_for_selector("[data-testid=toast-text]:has-text('1 annotation read')")
    operator.wait_idle()
    operator.calm()
    operator.open_example(1)
    assert "no annotated item" in operator.toast()
    page.click("#xs-variant label:has-text('Add')")


def test_nothing_is_proposed_to_modify_where_nothing_is_known(operator, tmp_path):
    page = operator.page
    path = draw_scan(tmp_path / "unlisted.png", 2)
    page.set_input_files("input[type=file][data-el=file]", str(path))
    page.wait_for_selector("[data-el=title]:text-is('unlisted.png')")
    operator.wait_idle()
    page.click("#xs-variant label:has-text('Modify')")
    assert "no annotations" in operator.toast()
    operator.draw((100, 80, 190, 140))
    operator.calm()
    page.keyboard.press("p")
    assert "no annotations" in operator.toast()
    assert operator.boxes() == 1
    page.click("#xs-variant label:has-text('Add')")
