"""A page with a real browser in front of it, for tests."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from app.engine import Choice, Engine
from app.layout import build, launch_options
from app.studio import make_studio
from xsyn_core.curation.workspace import Workspace

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE = 120_000
# In the page itself: a route of the browser's that is switched on while requests fly misses some.
HOLDING = """
  const ask = window.fetch;
  let gate = null;
  window.held = 0;
  window.hold = () => { window.held = 0; gate = Promise.withResolvers(); };
  window.letGo = () => { gate?.resolve(); gate = null; };
  window.fetch = async (...given) => {
    if (gate && String(given[0].url || given[0]).includes("/queue/join")) {
      window.held += 1;
      await gate.promise;
    }
    return ask(...given);
  };
"""


def draw_scan(path: Path, seed: int = 0, size: tuple[int, int] = (420, 320)) -> Path:
    """A bag-like picture: white air, an orange case, a few shapes of several materials."""
    rng = np.random.default_rng(seed)
    w, h = size
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((20, 25, w - 20, h - 20), 26, fill=(246, 205, 150))
    for colour in ((90, 150, 90), (80, 130, 200), (150, 120, 70), (120, 170, 120), (60, 100, 170)):
        x, y = int(rng.integers(40, w - 130)), int(rng.integers(45, h - 110))
        pen.rounded_rectangle((x, y, x + 80, y + 55), 9, fill=colour)
    image.filter(ImageFilter.GaussianBlur(1)).save(path)
    return path


@contextmanager
def serving(
    synthesizer, workspace: Path, examples: Path, others=None, fixed: bool = False
) -> Iterator[str]:
    """The page over a synthesizer; `others` loads those of other choices. Its address."""

    def load(choice: Choice):
        return synthesizer if choice == Choice() else others(choice)

    os.environ["HF_HUB_OFFLINE"] = "1"
    with Workspace(workspace) as kept:
        page = build(make_studio(Engine(load, fixed=fixed), kept, examples))
        _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
        try:
            yield address
        finally:
            page.close()


class Operator:
    """What a person does with the page."""

    def __init__(self, page, address: str):
        self.page = page
        self.foreign: list[str] = []
        self.problems: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self._note(request.url, address))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.add_init_script(HOLDING)
        page.goto(address)
        page.wait_for_selector("[data-place]")
        page.wait_for_selector("#xs-boxes p")

    def _note(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.foreign.append(url)

    def calm(self) -> None:
        """Close what is open and dismiss messages, for the next who comes."""
        for _ in range(3):
            self.page.keyboard.press("Escape")
        self.page.evaluate(
            "document.querySelectorAll('[data-testid=toast-close]').forEach((b) => b.click())"
        )
        self.page.wait_for_selector("[data-testid=toast-body]", state="detached")

    def set_steps(self, number: int) -> None:
        """Type a number of steps and leave the field."""
        self.page.fill("#xs-steps input[type=number]", str(number))
        self.page.keyboard.press("Escape")

    def wait_idle(self) -> None:
        """Until nothing is searched or painted."""
        self.page.wait_for_selector('.xs[data-busy=""]')

    def wait_ready(self) -> None:
        """Until keys need not wait any more."""
        self.page.wait_for_selector('.xs[aria-busy="false"]')

    def open_example(self, number: int = 0) -> None:
        """Click a scan of the shelf and wait for its idle regions."""
        before = self.page.get_attribute(".xs", "data-scan")
        self.page.locator("[data-place]").nth(number).click()
        self.page.wait_for_function(
            "old => { const open = document.querySelector('.xs').dataset.scan;"
            " return open && open !== old }",
            arg=before,
        )
        self.wait_idle()

    @contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        """Keep what the page asks for from the server, until the function is called."""
        self.page.evaluate("hold()")

        def let_go():
            self.page.wait_for_function("held > 0")
            self.page.evaluate("letGo()")

        try:
            yield let_go
        finally:
            self.page.evaluate("letGo()")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The screen position of a pixel of the scan."""
        return tuple(
            self.page.evaluate("([x, y]) => document.querySelector('.xs').toScreen(x, y)", [x, y])
        )

    def draw(self, box: tuple[float, float, float, float]) -> None:
        """Drag a box on the scan."""
        count = self.boxes()
        self.page.mouse.move(*self.at(box[0], box[1]))
        self.page.mouse.down()
        self.page.mouse.move(*self.at((box[0] + box[2]) / 2, box[3]))
        self.page.mouse.move(*self.at(box[2], box[3]))
        self.page.mouse.up()
        self.wait_boxes(count + 1)

    def boxes(self) -> int:
        """How many boxes are listed."""
        return self.page.locator("#xs-boxes .row").count()

    def wait_boxes(self, count: int) -> None:
        """Until so many boxes are listed."""
        self.page.wait_for_function(
            "n => document.querySelectorAll('#xs-boxes .row').length === n", arg=count
        )

    def paint(self) -> None:
        """Press G and wait for the sample."""
        before = self.page.get_attribute(".xs", "data-result")
        self.page.keyboard.press("g")
        self.page.wait_for_function(
            "old => { const xs = document.querySelector('.xs');"
            " return xs.dataset.result && xs.dataset.result !== old && xs.dataset.busy === '' }",
            arg=before,
        )

    def decide(self, key: str, text: str) -> None:
        """Press A, R or S and wait for the badge."""
        self.page.keyboard.press(key)
        self.page.wait_for_selector(f".xs-corner:has-text('{text}')")

    def count(self, decision: str) -> int:
        """The number beside a tab of the strip."""
        return int(self.page.locator(f"[data-count={decision}]").inner_text())

    def wait_count(self, decision: str, number: int) -> None:
        """Until the number beside a tab of the strip is `number`."""
        self.page.wait_for_function(
            "([d, n]) => document.querySelector(`[data-count=${d}]`).textContent === String(n)",
            arg=[decision, number],
        )

    def picture(self) -> str:
        """What the canvas shows, as bytes to compare."""
        return self.page.evaluate("document.querySelector('.xs canvas').toDataURL()")

    def wait_changed(self, before: str) -> None:
        """Until the canvas shows something else."""
        self.page.wait_for_function(
            "old => document.querySelector('.xs canvas').toDataURL() !== old", arg=before
        )

    def toast(self) -> str:
        """The text of the message on the page."""
        return self.page.locator("[data-testid=toast-text]").first.inner_text()
