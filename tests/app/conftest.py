"""A browser, scans for its shelf, and a page over a painter that is none."""

import numpy as np
import pytest
from browsing import CHROMIUM, FLAGS, Operator, draw_scan, serving
from fakes import FakeSynthesizer

from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import make_scan


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright  # modules that need it are skipped without

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    for i in range(2):
        draw_scan(folder / f"bag-{i}.png", i)
    return folder


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


@pytest.fixture
def sample():
    """A painted sample, labelled and occluded."""
    scan = make_scan(np.full((120, 160, 3), 240, np.uint8), "bag.png")
    request = Request((Grounding("Knife", (30, 30, 100, 90)),), steps=1)
    synthesizer = FakeSynthesizer(0)
    *_, last = synthesizer.paint(scan, request)
    return synthesizer.occlude(synthesizer.refine(last.result))
