import json
import threading
import zipfile

import pytest
from browsing import CHROMIUM, Operator, draw_scan
from pycocotools.coco import COCO

from app.scene import scene
from xsyn_core.boxes import area, intersection
from xsyn_core.curation.workspace import Workspace

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def test_whole_story(operator, site, tmp_path):
    page = operator.page
    operator.open_example(0)
    accepted = operator.count("accept")

    operator.draw((120, 90, 240, 190))
    assert page.locator("#xs-boxes .row span").inner_text() == "120 \u00d7 100"
    page.click("[data-do=menu]")
    page.click("[data-category=Gun]")
    # keys are the page's again at once
    assert page.evaluate("document.activeElement === document.querySelector('.xs canvas')")
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


def test_a_label_takes_one_line(operator):
    operator.open_example(0)
    operator.draw((100, 100, 277, 252))
    page = operator.page
    page.select_option("#xs-boxes select", "Powerbank")
    operator.paint()
    line = page.locator("#xs-findings .found")
    assert "Powerbank" in line.inner_text() and "IoU" in line.inner_text()
    assert line.bounding_box()["height"] < 25


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


def test_stop_counts_while_another_browser_is_served(operator, browser, site, painter):
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    other = Operator(context.new_page(), site[0])
    for one in (operator, other):
        one.open_example(0)
        one.draw((120, 90, 240, 190))
    painter.pause = 0.5
    other.page.keyboard.press("g")
    other.page.wait_for_selector("[data-el=status]:has-text('Step')")
    operator.page.keyboard.press("g")
    operator.page.wait_for_selector("#xs-stop", state="visible")
    operator.page.click("#xs-stop")
    operator.wait_idle()
    assert other.page.get_attribute(".xs", "data-busy") == "painting"
    painter.pause = 0.01
    other.wait_idle()
    # what is asked for now is painted, and nothing else
    operator.paint()
    assert operator.page.locator("[data-testid=toast-text]").count() == 0
    context.close()


def test_what_is_painted_last_counts(operator, painter):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    painter.pause = 1.0
    page.keyboard.press("g")
    page.wait_for_selector("[data-el=status]:has-text('Step')")
    page.click("#xs-stop")
    page.wait_for_selector("#xs-generate:not(.off)")
    page.fill("#xs-seed input", "77")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    painter.pause = 0.01
    page.wait_for_function("document.querySelector('.xs').dataset.result")
    operator.wait_idle()
    operator.decide("s", "Skipped")
    page.click("[data-tab=skip]")
    page.fill("#xs-seed input", "5")
    page.locator("[data-record]").first.click()
    page.wait_for_function("document.querySelector('#xs-seed input').value === '77'")


def test_keys_do_nothing_whose_buttons_are_off(operator, painter):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    operator.paint()
    accepted, seed = operator.count("accept"), page.locator("#xs-seed input").input_value()
    painter.pause = 0.5
    page.keyboard.press("g")
    page.wait_for_selector("[data-el=status]:has-text('Step')")
    # neither the sample that is out of sight, nor another painting
    page.keyboard.press("a")
    page.keyboard.press("n")
    painter.pause = 0.01
    operator.wait_idle()
    assert page.get_attribute(".xs", "data-result")
    assert operator.count("accept") == accepted
    assert page.locator("#xs-seed input").input_value() == seed
    operator.decide("s", "Skipped")


def test_keys_alone_reach_everything(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    operator.draw((250, 90, 330, 190))
    page.keyboard.press("Escape")
    canvas = page.locator(".xs canvas")
    canvas.focus()
    for row in (0, 1):
        page.keyboard.press("Tab")
        page.wait_for_selector(f"#xs-boxes .row.on[data-row='{row}']")
    # past the last box the focus goes on
    page.keyboard.press("Tab")
    assert not canvas.evaluate("e => e === document.activeElement")
    canvas.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("l")
    named = page.evaluate("document.activeElement.dataset.category")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("#xs-boxes select").first.input_value() != named
    assert canvas.evaluate("e => e === document.activeElement")
    # behind a dialog nothing has the focus
    page.keyboard.press("?")
    for _ in range(12):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body"
            " || Boolean(document.activeElement.closest('.xs-sheet'))"
        )
    page.keyboard.press("Escape")
    assert canvas.evaluate("e => e === document.activeElement")


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


def test_a_decision_of_another_server_stays_and_is_shown(operator, site):
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    operator.paint()
    operator.decide("s", "Skipped")
    rejected = operator.count("reject")
    with Workspace(site[1]) as another:
        another.decide(another.records("skip")[-1].id, "reject")
    operator.page.keyboard.press("u")
    operator.wait_count("reject", rejected + 1)
    operator.page.wait_for_selector("[data-testid=toast-text]")
    assert "another server" in operator.toast()


def test_letters_typed_into_a_field_decide_nothing(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    operator.paint()
    rejected = operator.count("reject")
    page.click("[data-do=choose]")
    page.locator("[name=diffusion]").focus()
    page.keyboard.press("r")
    page.wait_for_function("document.activeElement.value.includes('r')")
    operator.calm()
    page.locator("canvas").focus()
    operator.decide("s", "Skipped")
    assert operator.count("reject") == rejected
