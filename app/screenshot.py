"""A picture of the page at work: `python -m app.screenshot OUT.png`. Needs Playwright, Chromium."""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from app.layout import build, launch_options
from app.serving import open_studio
from app.serving import options as page_options

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 600_000


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m app.screenshot", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--example", default="packed_suitcase.png", help="scan of the shelf")
    parser.add_argument(
        "--box", default="0.42,0.40,0.66,0.62", help="grounding box, as shares of width and height"
    )
    parser.add_argument("--category", default="Gun")
    parser.add_argument("--layers", default="345", help="keys of the layers to switch on")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3, help="how many samples to accept first")
    parser.add_argument("--width", type=int, default=1366)
    parser.add_argument("--height", type=int, default=768)
    return parser.parse_args()


def main() -> None:
    """Serve the page over a fresh workspace, work in it, write the picture."""
    from playwright.sync_api import sync_playwright

    chosen = options()
    browser_path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)))
    with tempfile.TemporaryDirectory() as workspace, sync_playwright() as playwright:
        studio = open_studio(page_options(["--workspace", workspace]))
        demo = build(studio)
        _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options())
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(FLAGS))
        page = browser.new_page(viewport={"width": chosen.width, "height": chosen.height})
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        work(page, chosen)
        page.screenshot(path=chosen.out)
        browser.close()
        demo.close()
        studio.records.workspace.close()


def work(page, chosen: argparse.Namespace) -> None:
    """Open a scan, place an item, paint and accept a few, show why the label is right."""
    page.click(f'[data-place="{chosen.example}"]')
    page.wait_for_function("document.querySelector('[data-el=size]').textContent")
    page.wait_for_selector('.xs[data-busy=""]')
    width, height = (int(v) for v in page.inner_text("[data-el=size]").split(" \u00d7 "))
    shares = [float(v) for v in chosen.box.split(",")]
    corners = [share * side for share, side in zip(shares, (width, height) * 2, strict=True)]
    for i in (0, 2):
        at = page.evaluate("p => document.querySelector('.xs').toScreen(...p)", corners[i : i + 2])
        page.mouse.move(*at)
        page.mouse.down() if i == 0 else page.mouse.up()
    page.click("[data-do=menu]")
    page.click(f"[data-category={chosen.category}]")
    page.fill("#xs-steps input[type=number]", str(chosen.steps))
    page.keyboard.press("Escape")
    for i in range(chosen.seeds + 1):
        before = page.get_attribute(".xs", "data-result")
        page.keyboard.press("n" if i else "g")
        page.wait_for_function(
            "old => !['', old].includes(document.querySelector('.xs').dataset.result)", arg=before
        )
        page.wait_for_selector('.xs[data-busy=""]')
        if i < chosen.seeds:
            page.keyboard.press("a")
            page.wait_for_selector(".xs-corner.accept")
    for key in chosen.layers:
        page.keyboard.press(key)
    page.wait_for_timeout(500)


if __name__ == "__main__":
    main()
