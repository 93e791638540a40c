"""What the page's controls say of themselves, and how dialogs, messages and lists are laid out."""

import json

import pytest
from browsing import CHROMIUM, Operator

from xsyn_core.boxes import area, intersection
from xsyn_core.categories import CATALOGS
from xsyn_core.sample import Grounding
from xsyn_core.scan import read_scan

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
MADE = ("accept", "reject", "skip", "occluder", "placement")
LABEL = ("points", "divisions", "occlude", "alpha")
# The ratio of WCAG between an element's colour and the first opaque background behind it.
CONTRAST = """(element) => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255).map(
            (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    let behind = element;
    while (/^rgba\\(.*, 0\\)$/.test(getComputedStyle(behind).backgroundColor)) {
        behind = behind.parentElement;
    }
    const two = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
    const [dark, bright] = two.map(light).sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
}"""


@pytest.fixture
def fresh(browser, site):
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    operator = Operator(context.new_page(), site[0])
    yield operator
    context.close()
    assert operator.foreign == []
    assert operator.problems == []


def title(operator, name):
    return operator.page.get_attribute(f"#xs-{name}", "title")


def ready(operator):
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    operator.set_steps(3)
    operator.paint()


def edges(locator):
    box = locator.bounding_box()
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


def test_what_cannot_be_used_says_why(fresh):
    page = fresh.page
    for name in (*MADE, "generate", "next", "propose", "labels"):
        assert title(fresh, name) == "Open a scan first"
    assert page.get_attribute("[data-do=compare]", "title") == "Compare: open a scan first"
    assert page.locator(".xs-tools button:enabled").count() == 0
    assert page.locator(".xs-layers [aria-pressed=true]").count() == 0
    fresh.open_example(0)
    fresh.draw((120, 90, 240, 190))
    for name in MADE:
        assert title(fresh, name) == "Paint something first"
        assert page.get_attribute(f"#xs-{name}", "aria-disabled") == "true"
    assert page.get_attribute("[data-layer=heat]", "title") == "Attention: paint something first"
    # it is under the pointer, for its tooltip, and does nothing when it is clicked
    page.click("#xs-accept", force=True)
    page.click("#xs-occluder", force=True)
    fresh.set_steps(3)
    fresh.paint()
    assert page.locator("[data-testid=toast-text]").count() == 0
    for name in MADE:
        assert page.get_attribute(f"#xs-{name}", "aria-disabled") == "false"
    assert page.get_attribute("[data-do=compare]", "aria-pressed") == "false"
    page.keyboard.press("c")
    assert page.get_attribute("[data-do=compare]", "aria-pressed") == "true"
    fresh.decide("a", "Accepted")
    assert title(fresh, "accept") == "Accepted already"
    assert title(fresh, "undo") == "Take back the latest decision (U)"


def test_every_control_says_what_it_is_for(fresh):
    fresh.page.click(".xs-acc .label-wrap")
    fresh.page.wait_for_selector("#xs-occlusion[title]")
    nameless = fresh.page.evaluate(
        """() => [...document.querySelectorAll('#xs-side :is(button, input), .xs-tools button')]
            .filter((e) => !e.closest('[title], .xs-acc .label-wrap')).map((e) => e.outerHTML)"""
    )
    assert nameless == []


def test_a_recalled_sample_cannot_be_changed_until_it_is_painted_again(operator, fresh):
    ready(operator)
    operator.decide("a", "Accepted")
    page = fresh.page
    page.reload()
    page.locator("[data-record]").first.click()
    page.wait_for_selector("#xs-findings .hint:has-text('Generate again')")
    for name in (*LABEL, "occluder", "placement"):
        assert title(fresh, name) == "Generate this sample again to change it"
        assert page.get_attribute(f"#xs-{name}", "aria-disabled") == "true"
    alpha = page.locator("#xs-alpha input[type=range]")
    before = alpha.input_value()
    track = alpha.bounding_box()
    page.mouse.click(track["x"] + 0.9 * track["width"], track["y"] + track["height"] / 2)
    alpha.focus()
    page.keyboard.press("ArrowRight")
    assert alpha.input_value() == before
    fresh.wait_idle()
    fresh.paint()
    for name in (*LABEL, "occluder", "placement"):
        assert page.get_attribute(f"#xs-{name}", "aria-disabled") == "false"
    shown = fresh.picture()
    alpha.focus()
    page.keyboard.press("ArrowRight")
    fresh.wait_changed(shown)


def test_a_proposed_box_is_chosen(operator, painter, monkeypatch):
    page = operator.page
    operator.open_example(1)
    places = iter([(30.0, 40.0, 90.0, 100.0), (150.0, 40.0, 210.0, 100.0)])
    monkeypatch.setattr(painter, "propose", lambda *_: Grounding("Gun", next(places)))
    region = page.evaluate("document.querySelector('.xs canvas').getBoundingClientRect().toJSON()")
    page.mouse.move(region["x"] + region["width"] / 2, region["y"] + region["height"] / 2)
    for row in (0, 1):
        page.keyboard.press("p")
        page.wait_for_selector(f"#xs-boxes .row.on[data-row='{row}']")
    assert page.locator(".xs-tag").inner_text().startswith("Gun")
    # one that comes while another is labelled leaves that one chosen
    monkeypatch.setattr(
        painter, "propose", lambda *_: Grounding("Gun", (200.0, 200.0, 260.0, 260.0))
    )
    with operator.held() as let_go:
        page.keyboard.press("p")
        page.keyboard.press("l")
        let_go()
    operator.wait_boxes(3)
    page.keyboard.press("Enter")
    assert page.locator("#xs-boxes .row.on").get_attribute("data-row") == "1"


def test_a_proposal_ends_what_the_pointer_shows(operator, examples, painter, monkeypatch):
    page = operator.page
    operator.open_example(1)
    region = painter.idle(read_scan(examples / "bag-1.png"), CATALOGS["pidray"])[-1]
    ys, xs = region.mask.nonzero()
    middle = len(xs) // 2
    monkeypatch.setattr(painter, "propose", lambda *_: Grounding("Gun", (2.0, 2.0, 40.0, 20.0)))
    frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    before = operator.picture()
    page.mouse.move(*operator.at(xs[middle] + 0.5, ys[middle] + 0.5))
    operator.wait_changed(before)
    page.keyboard.press("p")
    page.wait_for_selector("#xs-boxes .row.on")
    page.evaluate(frames)
    shown = operator.picture()
    page.mouse.move(5, 5)
    page.evaluate(frames)
    assert operator.picture() == shown


@pytest.mark.parametrize("width", [683, 1024, 1920])
def test_dialogs_lie_over_the_whole_page(operator, width):
    page = operator.page
    page.set_viewport_size({"width": width, "height": 768})
    try:
        page.keyboard.press("?")
        over = page.evaluate(
            """() => {
                const box = document.querySelector('.xs-sheet').getBoundingClientRect();
                const at = (x, y) => document.elementFromPoint(x, y);
                const xs = [box.left + 3, box.right - 3, innerWidth / 2];
                return [
                    xs.every((x) => at(x, box.top + 20).closest('.xs-sheet')),
                    box.left >= 0 && box.right <= innerWidth && box.bottom <= innerHeight,
                    at(innerWidth - 4, innerHeight - 4).className,
                    document.querySelector('.xs-sheet').scrollWidth <= box.width,
                ];
            }"""
        )
    finally:
        page.set_viewport_size({"width": 1366, "height": 768})
    assert over == [True, True, "xs-modal", True]
    assert page.get_by_role("dialog", name="Keyboard").is_visible()
    page.mouse.click(5, 5)
    page.wait_for_selector(".xs-modal", state="hidden")


@pytest.mark.parametrize("size", [(683, 384), (1024, 768), (1366, 768), (1920, 1080), (2560, 1440)])
def test_messages_cover_no_control_and_can_be_closed(operator, size, tmp_path):
    page = operator.page
    ready(operator)
    operator.decide("s", "Skipped")
    operator.draw((20, 60, 90, 90))
    bad = tmp_path / "notes.png"
    bad.write_text("no picture")
    page.set_viewport_size({"width": size[0], "height": size[1]})
    message = page.locator("[data-testid=toast-body]")
    try:
        page.set_input_files("input[type=file][data-el=file]", str(bad))
        message.wait_for()
        # once it is in its place
        page.wait_for_function(
            "document.querySelector('[data-testid=toast-body]').getAnimations().length === 0"
        )
        box = edges(message)
        assert box[0] >= 0 and box[1] >= 0 and box[3] <= size[1]
        controls = page.locator(".xs button:visible, #xs-side, .xs-corner, .xs-status:visible")
        for one in controls.all():
            assert area(intersection(box, edges(one))) == 0
        page.click("[data-testid=toast-close]")
        message.wait_for(state="detached")
        page.set_input_files("input[type=file][data-el=file]", str(bad))
        message.wait_for()
        # the key is the message's, not the chosen box's
        page.keyboard.press("Escape")
        message.wait_for(state="detached")
        assert page.locator("#xs-boxes .row.on").count() == 1
        page.keyboard.press("Escape")
        page.wait_for_selector("#xs-boxes .row.on", state="detached")
    finally:
        page.set_viewport_size({"width": 1366, "height": 768})


def test_boxes_are_listed_in_whole_pixels(operator, tmp_path):
    page = operator.page
    file = tmp_path / "instances.json"
    boxes = [[100.1, 80.2, 54.9, 51.7], [30.3, 200.4, 40.6, 34.2]]
    whole = {
        "images": [{"id": 1, "file_name": "bag-0.png", "width": 420, "height": 320}],
        "categories": [{"id": 7, "name": "Gun"}],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": 7, "bbox": box} for k, box in enumerate(boxes)
        ],
    }
    file.write_text(json.dumps(whole))
    operator.open_example(0)
    page.click("#xs-variant label:has-text('Modify')")
    page.set_input_files("input[type=file][data-el=labels]", str(file))
    operator.wait_boxes(2)
    assert set(page.locator("#xs-boxes .row span").all_inner_texts()) == {
        "55 \u00d7 52",
        "41 \u00d7 34",
    }
    for field in page.locator("#xs-boxes select").all():
        assert field.bounding_box()["width"] >= 90
    operator.wait_idle()
    page.click("#xs-variant label:has-text('Add')")
    operator.wait_boxes(0)


def test_lists_use_the_room_and_show_what_is_chosen(operator):
    page = operator.page
    operator.open_example(0)
    for k in range(7):
        operator.draw((30 + 52 * k, 40, 70 + 52 * k, 80))
        page.keyboard.press("Escape")

    def hidden():
        return page.locator("#xs-boxes").evaluate("e => e.scrollHeight - e.clientHeight")

    assert hidden() > 0
    for k in (6, 0):
        page.mouse.click(*operator.at(50 + 52 * k, 60))
        row = edges(page.locator("#xs-boxes .row.on"))
        assert page.locator("#xs-boxes .row.on").get_attribute("data-row") == str(k)
        around = edges(page.locator("#xs-boxes"))
        assert around[1] <= row[1] + 1 and row[3] <= around[3] + 1
    page.set_viewport_size({"width": 1920, "height": 1080})
    assert hidden() == 0
    page.set_viewport_size({"width": 1366, "height": 768})


def test_a_low_window_keeps_room_for_the_scan(operator):
    page = operator.page
    ready(operator)
    page.keyboard.press("5")
    page.set_viewport_size({"width": 683, "height": 384})
    try:
        view = edges(page.locator(".xs-view"))
        legend = edges(page.locator(".xs-legend"))
        zoom = edges(page.locator(".xs-zoom"))
    finally:
        page.set_viewport_size({"width": 1366, "height": 768})
        page.keyboard.press("5")
    assert view[3] - view[1] > 200
    for part in (legend, zoom):
        assert view[0] <= part[0] and part[2] <= view[2]
    assert legend[3] <= view[3]


def test_a_wide_window_enlarges_all_but_the_scan(operator):
    page = operator.page
    ready(operator)
    page.set_viewport_size({"width": 2560, "height": 1440})
    try:
        operator.draw((30, 200, 90, 280))
        assert page.locator("#xs-boxes .row span").last.inner_text() == "60 \u00d7 80"
        side, strip = edges(page.locator("#xs-side")), edges(page.locator(".xs-strip"))
        view = edges(page.locator(".xs-view"))
        page.click("#xs-catalog input")
        field = edges(page.locator("#xs-catalog"))
        menu = edges(page.locator("ul[role=listbox]"))
        page.keyboard.press("Escape")
    finally:
        page.set_viewport_size({"width": 1366, "height": 768})
    assert abs(side[0] - view[2]) < 1 and abs(side[2] - 2560) < 1
    assert abs(strip[1] - view[3]) < 1 and abs(strip[3] - 1440) < 1
    assert side[2] - side[0] > 400
    assert abs(menu[0] - field[0]) < 8 and menu[2] <= 2560 and 0 <= menu[1] - field[3] < 16


def test_what_is_to_be_read_can_be_read(fresh):
    page = fresh.page

    def contrast(selector):
        return min(one.evaluate(CONTRAST) for one in page.locator(selector).all())

    assert contrast(".xs-layers :disabled") >= 3
    assert contrast("#xs-side button.off") >= 3
    assert contrast("#xs-side .hint, #xs-side h2, #xs-side h2 span, .xs-records p") >= 4.5
    ready(fresh)
    off = page.locator(".xs-layers [aria-pressed=false]:enabled")
    assert off.count() > 3
    assert min(one.evaluate(CONTRAST) for one in off.all()) >= 4.5
    assert contrast("#xs-accept, #xs-generate, #xs-boxes .row span, #xs-boxes b") >= 4.5
    fresh.decide("a", "Accepted")
    assert contrast(".xs-corner") >= 4.5


def test_what_begins_and_ends_is_read_out(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    said = page.get_by_role("status").and_(page.locator("[data-el=said]"))
    said.evaluate(
        """(e) => {
            window.said = [];
            new MutationObserver(() => window.said.push(e.textContent))
                .observe(e, { childList: true, characterData: true, subtree: true });
        }"""
    )
    operator.set_steps(6)
    operator.paint()
    operator.decide("r", "Rejected")
    assert page.evaluate("said") == ["Painting", "Painted, not yet decided", "Rejected"]


def test_controls_have_names(operator):
    page = operator.page
    operator.open_example(1)
    assert page.get_by_role("combobox", name="Catalogue").is_visible()
    assert page.get_by_role("group", name="Variant").is_visible()
    assert page.get_by_role("group", name="Points").is_visible()
    assert page.get_by_role("checkbox", name="Background occlusion").count() == 1
    assert (
        page.locator("[data-place][aria-current=true]").get_attribute("data-place") == "bag-1.png"
    )


def test_the_menu_of_catalogues_closes_behind_the_focus(operator):
    page = operator.page
    menu = page.locator("ul[role=listbox]")
    page.focus("#xs-catalog input")
    menu.wait_for()
    page.keyboard.press("Tab")
    menu.wait_for(state="detached")
    assert page.evaluate("document.activeElement.matches('#xs-side :not(#xs-catalog *)')")
