"""The page's dialog of models."""

import json

import pytest
from browsing import CHROMIUM, Operator, serving
from fakes import FakeSynthesizer

from xsyn_core.errors import XsynError

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def test_other_models_take_over(browser, examples, tmp_path):
    def others(choice):
        if choice.diffusion != "/weights/gligen":
            raise XsynError("There is <no> such folder.")
        return FakeSynthesizer(0.01, 64 * "1")

    with serving(FakeSynthesizer(0.01), tmp_path, examples, others) as address:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        operator = Operator(page, address)
        operator.open_example(0)
        operator.draw((120, 90, 240, 190))
        operator.set_steps(3)
        operator.paint()
        chip = page.locator("[data-do=choose]")
        for wrong, told in (("/weights/wrong", "There is <no> such folder."), ("x" * 1001, None)):
            chip.click()
            page.wait_for_selector("[name=diffusion]")
            assert page.input_value("[name=sam]") == "embedded"
            page.fill("[name=diffusion]", wrong)
            page.keyboard.press("Enter")
            if told:
                page.wait_for_selector(".xs-sheet .flag")
                assert page.inner_text(".xs-sheet .flag") == told
                assert page.input_value("[name=diffusion]") == wrong
            else:
                assert "at most 1000 characters" in operator.toast()
                page.wait_for_selector(".xs-modal", state="hidden")
            assert chip.inner_text() == "Ready · embedded models"
            operator.calm()
        chip.click()
        page.wait_for_selector("[name=diffusion]")
        page.fill("[name=diffusion]", " '/weights/gligen' ")
        page.click("[data-do=exchange]")
        page.wait_for_selector(".xs-modal", state="hidden")
        assert chip.inner_text() == "Ready · gligen"
        operator.wait_idle()
        # what the models before have painted stays, but nothing of it can change
        before = operator.picture()
        page.fill("#xs-alpha input[type=number]", "0.9")
        page.keyboard.press("Escape")
        page.wait_for_selector("#xs-findings .flag:has-text('other models')")
        assert operator.picture() == before
        operator.decide("a", "Accepted")
        operator.paint()
        assert page.locator("#xs-findings .flag:has-text('other models')").count() == 0
        operator.decide("a", "Accepted")
        found = [json.loads(p.read_text())["weights"] for p in tmp_path.glob("samples/*/*.json")]
        assert sorted(found) == [64 * "0", 64 * "1"]
        assert operator.problems == []
        page.close()


def test_models_of_an_open_server_are_fixed(browser, examples, tmp_path):
    with serving(FakeSynthesizer(0.01), tmp_path, examples, fixed=True) as address:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        Operator(page, address)
        page.click("[data-do=choose]")
        page.wait_for_selector("[name=diffusion]:disabled")
        assert page.locator("[data-do=exchange]").count() == 0
        assert "where it is started" in page.inner_text(".xs-sheet")
        page.close()
