"""Keys on the page: in fields, ahead of the server, and what follows a decision."""

from dataclasses import replace

import pytest
from browsing import CHROMIUM, Operator, serving
from fakes import FakeSynthesizer

from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
STEPS, SEED = "#xs-steps input[type=number]", "#xs-seed input"


def wait_result(operator, before=""):
    """Until another sample than `before` is there, or none is painted any more."""
    operator.page.wait_for_function(
        "old => { const xs = document.querySelector('.xs');"
        " return xs.dataset.result && xs.dataset.result !== old && xs.dataset.busy === '' }",
        arg=before,
    )


def toasts(operator):
    return operator.page.locator("[data-testid=toast-text]").all_inner_texts()


def test_letters_leave_a_number(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    page.fill(STEPS, "500")
    page.keyboard.press("g")
    wait_result(operator)
    assert page.input_value(STEPS) == "100"
    page.locator(SEED).focus()
    page.evaluate(
        "window.left = []; addEventListener('keydown', e => left.push(!e.defaultPrevented))"
    )
    for key in "3-1":
        page.keyboard.press(key)
    assert page.evaluate("left") == [True] * 3
    assert page.locator(SEED).evaluate("e => e === document.activeElement")
    assert page.get_attribute("[data-layer=heat]", "aria-pressed") == "false"
    page.fill(SEED, "31")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement === document.body")
    page.keyboard.press("3")
    assert page.get_attribute("[data-layer=heat]", "aria-pressed") == "true"
    page.keyboard.press("3")
    assert page.input_value(SEED) == "31"
    page.locator(SEED).focus()
    operator.decide("r", "Rejected")
    operator.set_steps(3)


def test_shortcuts_change_no_label(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    label = page.locator("#xs-boxes select")
    label.select_option("Knife")
    label.focus()
    page.keyboard.press("g")
    wait_result(operator)
    assert label.input_value() == "Knife"
    label.focus()
    page.keyboard.press("3")
    assert page.get_attribute("[data-layer=heat]", "aria-pressed") == "true"
    page.keyboard.press("3")
    label.focus()
    operator.decide("s", "Skipped")
    assert label.input_value() == "Knife"
    # what is no shortcut is the list's own
    label.focus()
    page.keyboard.press("ArrowDown")
    assert label.input_value() != "Knife"


def test_generate_waits_for_the_proposed_box(operator):
    operator.open_example(0)
    with operator.held() as let_go:
        operator.page.keyboard.press("p")
        operator.page.wait_for_selector("[data-el=status]:has-text('Looking for a place')")
        operator.page.keyboard.press("g")
        let_go()
    wait_result(operator)
    assert operator.boxes() == 1 and toasts(operator) == []
    operator.decide("s", "Skipped")


def test_nothing_is_generated_where_nothing_was_proposed(operator, painter, monkeypatch):
    def propose(*given):
        raise XsynError("No idle region here.")

    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    with monkeypatch.context() as patched:
        patched.setattr(painter, "propose", propose)
        with operator.held() as let_go:
            page.keyboard.press("p")
            page.keyboard.press("g")
            let_go()
        assert operator.toast() == "No idle region here."
        page.wait_for_selector("[data-el=status]", state="hidden")
    assert page.get_attribute(".xs", "data-busy") == page.get_attribute(".xs", "data-result") == ""
    assert len(toasts(operator)) == 1
    # and what is pressed now does not wait
    operator.paint()
    operator.decide("s", "Skipped")


def test_keys_wait_for_the_next_scan(operator):
    page = operator.page
    operator.open_example(0)
    with operator.held() as let_go:
        for key in "]pg":
            page.keyboard.press(key)
        let_go()
    wait_result(operator)
    assert page.inner_text("[data-el=title]") == "bag-1.png"
    assert operator.boxes() == 1 and toasts(operator) == []
    operator.decide("s", "Skipped")


@pytest.mark.parametrize("asked", ["click", "undo"])
def test_no_decision_is_made_while_another_sample_is_opened(operator, asked):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    operator.paint()
    operator.decide("r", "Rejected")
    operator.paint()
    accepted, shown = operator.count("accept"), page.get_attribute(".xs", "data-result")
    page.click("[data-tab=reject]")
    with operator.held() as let_go:
        if asked == "click":
            page.click("[data-record] >> nth=0")
        else:
            page.keyboard.press("u")
        page.keyboard.press("a")
        page.wait_for_selector("[data-el=note]:has-text('Still opening')")
        assert page.get_attribute("#xs-accept", "title") == "Wait for what is being opened"
        page.click("#xs-accept", force=True)
        let_go()
    wait_result(operator, shown)
    assert operator.count("accept") == accepted
    # there it is, and can be decided on when the settings that made it are there too
    operator.wait_ready()
    operator.decide("s", "Skipped")
    page.click("[data-tab=accept]")


def test_keys_do_not_wait_for_a_scan_that_cannot_be_opened(operator, tmp_path):
    bad = tmp_path / "notes.png"
    bad.write_text("no picture")
    operator.open_example(0)
    operator.page.set_input_files("input[type=file][data-el=file]", str(bad))
    assert "not an image" in operator.toast()
    operator.page.keyboard.press("p")
    operator.wait_boxes(1)


def test_early_decisions_are_told_so(operator, painter):
    page = operator.page
    operator.open_example(0)
    page.keyboard.press("a")
    assert "no sample" in page.inner_text("[data-el=note]")
    operator.draw((120, 90, 240, 190))
    painter.pause = 0.5
    page.keyboard.press("g")
    page.wait_for_selector("[data-el=status]:has-text('Step')")
    page.keyboard.press("a")
    assert "Still painting" in page.inner_text("[data-el=note]")
    painter.pause = 0.01
    wait_result(operator)
    operator.decide("s", "Skipped")


def test_what_follows_a_decision(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    page.fill(SEED, "4")
    page.keyboard.press("Enter")
    operator.paint()
    page.click("#xs-then label:has-text('Seed')")
    for seed, key in ((5, "a"), (6, "r")):
        before = page.get_attribute(".xs", "data-result")
        page.keyboard.press(key)
        wait_result(operator, before)
        assert page.input_value(SEED) == str(seed)
        assert page.inner_text("#xs-boxes .row span") == "120 \u00d7 100"
    page.click("#xs-then label:has-text('Scan')")
    page.keyboard.press("s")
    page.wait_for_selector("[data-el=title]:has-text('bag-1.png')")
    page.reload()
    page.wait_for_selector("#xs-then :checked[value=scan]")
    operator.open_example(1)
    operator.draw((120, 90, 240, 190))
    operator.paint()
    operator.decide("s", "Skipped")
    page.wait_for_selector("[data-el=note]:has-text('This is the last scan')")
    page.click("#xs-then label:has-text('None')")
    operator.paint()
    operator.decide("s", "Skipped")
    assert page.inner_text("[data-el=title]") == "bag-1.png"


def test_keys_wait_for_what_follows_a_decision(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    operator.paint()
    page.click("#xs-then label:has-text('Scan')")
    rejected, before = operator.count("reject"), page.get_attribute(".xs", "data-result")
    with operator.held() as let_go:
        for key in "rpg":
            page.keyboard.press(key)
        let_go()
    page.wait_for_selector("[data-el=title]:has-text('bag-1.png')")
    wait_result(operator, before)
    assert operator.boxes() == 1 and toasts(operator) == []
    assert operator.count("reject") == rejected + 1
    page.click("#xs-then label:has-text('None')")
    # what is taken back twice at once is two decisions
    operator.decide("s", "Skipped")
    skipped = operator.count("skip")
    with operator.held() as let_go:
        for key in "uu":
            page.keyboard.press(key)
        let_go()
    operator.wait_count("reject", rejected)
    assert operator.count("skip") == skipped - 1
    operator.decide("r", "Rejected")


def test_the_undecided_come_up_one_after_the_other(operator, site):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    operator.paint()
    operator.decide("s", "Skipped")
    # as the command line stores them
    with Workspace(site[1], create=False) as other:
        for left in other.records("pending"):
            other.decide(left.id, "skip")
        sample = other.load(other.records("skip")[-1].id)
        for seed in (10, 11, 12, 13):
            other.add(replace(sample, request=replace(sample.request, seed=seed)))
        damaged = other.records("pending")[0]
        (damaged.folder / "sample.json").write_text("no JSON")
    page.reload()
    page.wait_for_selector("[data-count=pending]:has-text('4')")
    page.click("#xs-then label:has-text('Undecided')")
    page.click("[data-tab=pending]")
    page.locator("[data-record]").nth(1).click()
    page.wait_for_function("document.querySelector('#xs-seed input').value === '12'")
    # one leaves the strip, and comes back to its place
    strip = "[...document.querySelectorAll('[data-record]')].map((n) => Number(n.dataset.record))"
    newest_first = sorted(page.evaluate(strip), reverse=True)
    for key, seed, there in (
        ("a", "11", [newest_first[0], *newest_first[2:]]),
        ("u", "12", newest_first),
    ):
        operator.wait_ready()
        page.keyboard.press(key)
        page.wait_for_function(
            "s => document.querySelector('#xs-seed input').value === s", arg=seed
        )
        page.wait_for_function(f"there => String({strip}) === String(there)", arg=there)
    # those made earlier come next, then what was left out, but for what cannot be read
    for key, seed in (("a", "11"), ("r", "13")):
        operator.wait_ready()
        page.keyboard.press(key)
        page.wait_for_function(
            "s => document.querySelector('#xs-seed input').value === s", arg=seed
        )
        assert page.locator("[data-record][aria-current]").count() == 1
    told = f"samples/{damaged.id:06d} is incomplete or damaged"
    page.wait_for_selector(f"[data-testid=toast-text]:has-text('{told}')")
    operator.wait_count("pending", 2)
    operator.wait_ready()
    page.keyboard.press("a")
    page.wait_for_selector("[data-el=note]:has-text('There is nothing more to decide on')")
    assert page.locator("[data-record]").count() == operator.count("pending") == 1
    page.click("#xs-then label:has-text('None')")
    page.click("[data-tab=accept]")


def test_two_who_decide_have_different_samples_before_them(browser, examples, tmp_path, sample):
    with Workspace(tmp_path) as kept:
        for _ in range(4):
            kept.add(sample)
    shown = "[data-record='{}'][aria-current=true]"
    with serving(FakeSynthesizer(0.01), tmp_path, examples) as address:
        ann, bob = (Operator(browser.new_page(), address) for _ in range(2))
        for one, number in ((bob, 3), (ann, 4)):
            one.page.click("#xs-then label:has-text('Undecided')")
            one.page.click("[data-tab=pending]")
            one.page.click(f"[data-record='{number}']")
            one.page.wait_for_selector(shown.format(number))
        # bob has 3 before him until nothing else is left
        for number in (2, 1, 3):
            ann.wait_ready()
            ann.page.keyboard.press("a")
            ann.page.wait_for_selector(shown.format(number))
        for one in (ann, bob):
            assert one.problems == []
            one.page.close()
