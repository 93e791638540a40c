"""Where the operator is and what is done: the shelf, the strip, what is left and comes back."""

import pytest
from browsing import CHROMIUM, Operator, draw_scan, serving
from fakes import FakeSynthesizer

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
KEPT = "[data-testid=toast-text]:has-text('kept under Undecided')"


@pytest.fixture
def fresh(browser, examples, tmp_path):
    """An operator of an empty workspace."""
    with serving(FakeSynthesizer(0.01), tmp_path / "workspace", examples) as address:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        operator = Operator(page, address)
        yield operator
        assert operator.problems == []
        page.close()


def title(operator, name):
    """Until this scan is open."""
    operator.page.wait_for_selector(f"[data-el=title]:text-is('{name}')")
    operator.wait_idle()


def made(operator, steps=2):
    """A sample of the open scan, not yet decided on."""
    operator.draw((120, 90, 240, 190))
    operator.set_steps(steps)
    operator.paint()


def test_scans_follow_that_of_a_sample(fresh, tmp_path):
    page = fresh.page
    paths = [str(draw_scan(tmp_path / f"mine-{i}.png", 7 + i)) for i in range(3)]
    page.set_input_files("input[type=file][data-el=file]", paths)
    title(fresh, "mine-0.png")
    assert page.inner_text("[data-el=at]") == "1 / 5"
    page.keyboard.press("[")
    page.wait_for_selector("[data-el=note]:has-text('This is the first scan')")
    page.keyboard.press("]")
    title(fresh, "mine-1.png")
    made(fresh)
    fresh.decide("a", "Accepted")
    for name in ("mine-2.png", "bag-0.png"):
        page.keyboard.press("]")
        title(fresh, name)
    page.click("[data-record]")
    title(fresh, "mine-1.png")
    assert page.inner_text("[data-el=at]") == "2 / 5"
    assert page.get_attribute("[data-place][aria-current=true]", "title").startswith("mine-1.png")
    page.keyboard.press("]")
    title(fresh, "mine-2.png")
    with fresh.held() as let_go:
        for key in "[[":
            page.keyboard.press(key)
        let_go()
    title(fresh, "mine-0.png")
    page.keyboard.press("]")
    title(fresh, "mine-1.png")
    # uploads end with the page: such a sample has no place, the scans go on from the last one
    page.reload()
    page.wait_for_selector("[data-record]")
    assert page.inner_text("[data-el=at]") == "2"
    fresh.open_example(0)
    page.click("[data-record]")
    title(fresh, "mine-1.png")
    assert page.locator("[data-place][aria-current]").count() == 0
    page.keyboard.press("]")
    title(fresh, "bag-1.png")


def test_pixels_tell_where_a_scan_is(fresh, tmp_path):
    page = fresh.page
    fresh.open_example(0)
    made(fresh)
    fresh.decide("a", "Accepted")
    page.reload()
    page.wait_for_selector("[data-record]")
    # one is called as the sample's scan, the other is it
    other = str(draw_scan(tmp_path / "bag-0.png", 9))
    itself = str(draw_scan(tmp_path / "same.png", 0))
    page.set_input_files("input[type=file][data-el=file]", [other, itself])
    title(fresh, "bag-0.png")
    page.click("[data-record]")
    page.wait_for_selector("[data-place][aria-current][title^='same.png']")


def test_what_is_done_and_shown_is_marked(fresh):
    page = fresh.page
    fresh.open_example(1)
    made(fresh)
    fresh.decide("a", "Accepted")
    fresh.paint()
    assert page.locator("[data-record][aria-current]").count() == 0
    fresh.decide("a", "Accepted")
    page.wait_for_selector("[data-place] b:text-is('2')")
    assert page.locator("[data-place]").nth(1).get_attribute("aria-label") == (
        "bag-1.png, 2 accepted"
    )
    assert page.locator("[data-place] b").count() == 1
    page.wait_for_selector("[data-record]:first-child[aria-current=true]")
    page.locator("[data-record]").last.click()
    page.wait_for_selector("[data-record]:last-child[aria-current=true]")
    assert page.locator("[data-record][aria-current]").count() == 1
    page.keyboard.press("u")
    page.wait_for_selector("[data-place] b:text-is('1')")


def test_what_was_taken_back_can_be_found_again(fresh):
    page = fresh.page
    fresh.open_example(0)
    made(fresh)
    fresh.decide("a", "Accepted")
    page.keyboard.press("u")
    page.wait_for_selector("[data-count=pending]:has-text('1')")
    fresh.wait_idle()
    fresh.open_example(1)
    assert page.locator(KEPT).count() == 0
    page.click("[data-tab=pending]")
    page.locator("[data-record]").first.click()
    page.wait_for_function("document.querySelector('[data-el=title]').textContent === 'bag-0.png'")
    fresh.decide("r", "Rejected")
    fresh.wait_count("pending", 0)
    page.click("[data-tab=accept]")
    assert page.locator("[data-tab=pending]").count() == 0


def test_what_is_left_undecided_is_kept(fresh):
    page = fresh.page
    fresh.open_example(0)
    made(fresh)
    # another takes its place on purpose
    fresh.paint()
    fresh.open_example(1)
    page.wait_for_selector(KEPT)
    fresh.wait_count("pending", 1)
    fresh.calm()
    made(fresh)
    page.click("[data-tab=pending]")
    page.click("[data-record]")
    title(fresh, "bag-0.png")
    page.wait_for_selector(KEPT)
    fresh.wait_count("pending", 2)
    fresh.calm()
    # all that it was, and to be decided on
    before = fresh.picture()
    page.fill("#xs-alpha input[type=number]", "0.9")
    fresh.wait_changed(before)
    fresh.decide("a", "Accepted")
    page.wait_for_selector("[data-place] b:text-is('1')")
    fresh.open_example(0)
    fresh.wait_count("pending", 2)
    assert page.locator(KEPT).count() == 0


def test_a_reload_asks_first_and_keeps_the_settings(fresh):
    page = fresh.page
    asked = []

    def answer(dialog):
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", answer)
    fresh.open_example(0)
    page.fill("#xs-seed input", "12")
    page.keyboard.press("Enter")
    page.click("#xs-points label:has-text('Top-k')")
    made(fresh, steps=9)
    page.keyboard.press("3")
    page.click("#xs-variant label:has-text('Modify')")
    page.reload()
    assert asked == ["beforeunload"]
    page.wait_for_selector("#xs-variant :checked[value=modify]")
    page.wait_for_selector("#xs-points :checked[value=topk]")
    assert page.input_value("#xs-seed input") == "12"
    assert page.input_value("#xs-steps input[type=number]") == "9"
    page.click("#xs-variant label:has-text('Add')")
    fresh.open_example(0)
    fresh.draw((120, 90, 240, 190))
    fresh.paint()
    assert page.get_attribute("[data-layer=heat]", "aria-pressed") == "true"
    fresh.decide("a", "Accepted")
    page.reload()
    page.wait_for_selector("[data-record]")
    assert asked == ["beforeunload"]
