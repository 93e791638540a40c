"""A browser, and scans for its shelf."""

import pytest
from browsing import CHROMIUM, FLAGS, draw_scan


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
