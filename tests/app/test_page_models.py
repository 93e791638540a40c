"""The page over real networks: the embedded ones, or random ones of their shapes."""

import json
from pathlib import Path

import pytest
from browsing import CHROMIUM, FLAGS, Operator, serving
from PIL import Image
from pycocotools.coco import COCO

from xsyn_core import weight_sources, weights
from xsyn_core.synthesis import Synthesizer

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
ROOT = Path(__file__).parents[2]
SCANS = ROOT.parent / "shared" / "scans"
EMBEDDED = weight_sources.ASSETS / "segmenter" / "sam.safetensors"


@pytest.fixture(scope="module")
def synthesizer(request):
    if EMBEDDED.is_file() and (weight_sources.ASSETS / "diffusion" / "unet").is_dir():
        return Synthesizer(weights.load_models(device="cpu"))
    return Synthesizer(request.getfixturevalue("tiny_models"))


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    real = sorted(SCANS.glob("images/benign_hums_*.jpg"))[:1]
    for path in real or sorted((ROOT / "assets" / "examples").glob("*.png"))[:1]:
        Image.open(path).convert("RGB").save(folder / f"{path.stem}.png")
    return folder


def test_paint_occlude_accept_export(synthesizer, examples, tmp_path):
    with (
        serving(synthesizer, tmp_path / "workspace", examples) as address,
        sync_api.sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        operator = Operator(browser.new_page(viewport={"width": 1366, "height": 768}), address)
        page = operator.page
        operator.open_example(0)
        (path,) = examples.iterdir()
        width, height = Image.open(path).size
        box = [round(v) for v in (0.35 * width, 0.35 * height, 0.6 * width, 0.6 * height)]
        operator.draw(box)
        operator.set_steps(4)
        operator.paint()
        before = operator.picture()
        page.keyboard.press("3")
        operator.wait_changed(before)
        page.keyboard.press("3")
        page.click("#xs-divisions input[type=range]", position={"x": 2, "y": 4})
        page.fill("#xs-alpha input[type=number]", "0.8")
        page.keyboard.press("Escape")
        operator.wait_idle()
        operator.decide("a", "Accepted")
        page.click("[data-do=export]")
        page.wait_for_selector(".xs-sheet a[download]")
        assert operator.foreign == []
        assert operator.problems == []
        browser.close()
    out = tmp_path / "workspace" / "exports" / "pidray"
    data = COCO(str(out / "annotations" / "instances.json"))
    (image,) = data.loadImgs(data.getImgIds())
    assert (image["width"], image["height"]) == (width, height)
    assert len(data.getAnnIds()) == 1
    (line,) = (out / "provenance.jsonl").read_text().splitlines()
    settings = json.loads(line)["settings"]
    assert (settings["alpha"], settings["steps"], settings["divisions"]) == (0.8, 4, 0)
