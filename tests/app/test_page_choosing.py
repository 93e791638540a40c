"""The page's dialogs: of models, of the export."""

import json
import threading

import pytest
from browsing import CHROMIUM, Operator, serving
from fakes import FakeSynthesizer
from pycocotools.coco import COCO

from app import exporting
from xsyn_core.catalogs import own_catalog
from xsyn_core.categories import CATALOGS
from xsyn_core.curation.workspace import Workspace
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


def test_models_of_ones_own_categories(browser, examples, tmp_path):
    """Asked for once they are loaded, by every page; accepted samples keep them on offer."""
    sizes = {"gas_can": [(50, 40)], "<b>tent</b>": [(200, 200)]}
    own = own_catalog("Lab <7>", sizes, (320 * 420,) * 2, 0.001, 0.25)
    tuned = FakeSynthesizer(0.01, 64 * "2")
    tuned.catalog = own

    def chosen(page, name):
        page.click("[data-do=choose]")
        page.fill("[name=diffusion]", name)
        page.click("[data-do=exchange]")
        page.wait_for_selector(".xs-modal", state="hidden")

    def names(page):
        return set(page.locator("#xs-boxes option").all_inner_texts())

    def others(choice):
        return tuned if choice.diffusion == "/weights/tuned" else FakeSynthesizer(0.01)

    with serving(FakeSynthesizer(0.01), tmp_path, examples, others) as address:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        operator = Operator(page, address)
        operator.open_example(0)
        operator.draw((120, 90, 160, 130))
        assert len(names(page)) == 12
        chosen(page, "/weights/tuned")
        operator.wait_idle()
        page.wait_for_function("document.querySelector('#xs-catalog input').value === 'Lab <7>'")
        assert names(page) == {"gas can", "<b>tent</b>"}
        assert page.input_value("#xs-boxes select") == "gas_can"
        operator.set_steps(3)
        operator.paint()
        operator.decide("a", "Accepted")
        page.click("[data-do=export]")
        page.wait_for_selector(".xs-sheet a[download]")
        assert page.inner_text(".xs-sheet h2") == "Lab <7> dataset exported"
        operator.calm()
        file = tmp_path / "exports" / own.key / "annotations" / "instances.json"
        data = COCO(file)
        assert [c["name"] for c in data.loadCats([1, 2])] == list(own.names)
        assert [a["category_id"] for a in data.anns.values()] == [1]
        # other models again: back to PIDray's categories, the accepted ones stay on offer
        chosen(page, "embedded")
        page.wait_for_function("document.querySelector('#xs-catalog input').value === 'PIDray'")
        operator.wait_idle()
        again = browser.new_page(viewport={"width": 1366, "height": 768})
        other = Operator(again, address)
        assert again.input_value("#xs-catalog input") == "PIDray"
        other.open_example(1)
        again.click("[data-record]")
        again.wait_for_function("document.querySelector('#xs-catalog input').value === 'Lab <7>'")
        other.wait_idle()
        other.set_steps(2)
        other.paint()
        assert operator.problems == other.problems == []
        again.close()
        page.close()


def test_the_page_opens_with_the_categories_of_its_models(browser, examples, tmp_path):
    tuned = FakeSynthesizer(0.01)
    tuned.catalog = CATALOGS["hixray"]
    with serving(tuned, tmp_path, examples) as address:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        operator = Operator(page, address)
        page.wait_for_selector("[data-do=choose]:has-text('Ready')")
        page.reload()
        page.wait_for_selector("[data-place]")
        page.wait_for_function("document.querySelector('#xs-catalog input').value === 'HiXray'")
        operator.open_example(0)
        operator.draw((120, 90, 240, 190))
        assert set(page.locator("#xs-boxes option").all_inner_texts()) == {
            name.replace("_", " ") for name in tuned.catalog.names
        }
        assert operator.problems == []
        page.close()


def test_an_export_whose_dialog_was_closed_comes_back_at_its_end(
    browser, examples, tmp_path, sample, monkeypatch
):
    with Workspace(tmp_path) as kept:
        for _ in range(3):
            kept.decide(kept.add(sample), "accept")
    turns = {2: threading.Event(), 3: threading.Event()}

    def slow(self, number, pictures=True, load=Workspace.load):
        assert number not in turns or turns[number].wait(30)
        return load(self, number, pictures)

    monkeypatch.setattr(exporting, "PAUSE", 0.05)
    monkeypatch.setattr(Workspace, "load", slow)
    with serving(FakeSynthesizer(0.01), tmp_path, examples) as address:
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        operator = Operator(page, address)
        page.click("[data-do=export]")
        page.wait_for_selector(".xs-sheet .busy:has-text('1 of 3')")
        page.keyboard.press("Escape")
        page.wait_for_selector(".xs-modal", state="hidden")
        turns[2].set()
        page.wait_for_selector(".xs-sheet .busy:has-text('2 of 3')", state="attached")
        assert not page.is_visible(".xs-modal")
        turns[3].set()
        page.wait_for_selector(".xs-sheet a[download]")
        assert page.inner_text(".tiles div >> nth=0").split() == ["3", "images"]
        # and the next one opens its dialog again
        page.click("[data-do=close]")
        page.wait_for_selector(".xs-modal", state="hidden")
        for turn in turns.values():
            turn.clear()
        page.click("[data-do=export]")
        page.wait_for_selector(".xs-sheet .busy:has-text('1 of 3')")
        # help that is asked for meanwhile stays until the end
        page.keyboard.press("Escape")
        page.wait_for_selector(".xs-modal", state="hidden")
        page.keyboard.press("?")
        turns[2].set()
        page.wait_for_selector(".xs-sheet h2:has-text('Keyboard')")
        page.wait_for_timeout(500)
        assert page.inner_text(".xs-sheet h2") == "Keyboard"
        turns[3].set()
        page.wait_for_selector(".xs-sheet a[download]")
        operator.calm()
        assert operator.problems == []
        page.close()
