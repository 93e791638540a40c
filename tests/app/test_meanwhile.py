"""What happens while a label is computed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr
import pytest
from browsing import draw_scan
from fakes import FakeSynthesizer
from PIL import Image

from app.deciding import Deciding
from app.engine import Engine
from app.painting import SETTINGS, Painter
from app.placing import Placing
from app.studio import make_studio
from xsyn_core.curation.workspace import Workspace
from xsyn_core.sample import Grounding, Request

WAIT = 20
DEFAULTS = vars(Request((Grounding("Knife", (0, 0, 1, 1)),), steps=2)) | {"catalog": "pidray"}


class HeldSynthesizer(FakeSynthesizer):
    """Waits in every `refine` until it may go on, once it is told to."""

    def __init__(self):
        super().__init__(0)
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def hold(self):
        self.inside.clear()
        self.go_on.clear()

    def refine(self, *given, **named):
        self.inside.set()
        assert self.go_on.wait(WAIT)
        return super().refine(*given, **named)


class Desk:
    """The handlers of one page, called as the page calls them."""

    def __init__(self, synthesizer, workspace, examples):
        studio = make_studio(Engine(lambda choice: synthesizer), workspace, examples)
        self.synthesizer, self.workspace = synthesizer, workspace
        self.placing, self.painter = Placing(studio), Painter(studio)
        self.deciding = Deciding(studio, self.painter)
        self.key = self.placing.load()[0]
        self.session = studio.sessions.get(self.key)

    def open(self, name):
        self.placing.open_shelf(self.key, "add", SimpleNamespace(place=name))

    def paint(self, category):
        boxes = [{"box": [60, 60, 160, 140], "category": category}]
        value = {"scan": self.session.scan_id, "boxes": boxes}
        self.painter.begin(self.key, value, *[DEFAULTS[name] for name in SETTINGS])
        list(self.painter.generate(self.key))

    def adjust(self, divisions=4):
        return self.painter.adjust(self.key, *self.controls(divisions))

    def decide(self, decision, divisions=4):
        return self.deciding.decide(decision)(self.key, *self.controls(divisions))

    @staticmethod
    def controls(divisions):
        wanted = DEFAULTS | {"divisions": divisions}
        return [wanted[name] for name in ("points", "divisions", "occlude", "alpha", "occlusion")]

    @property
    def stored(self):
        return [(r.name, *r.categories, r.decision) for r in self.workspace.records()]


@pytest.fixture
def desk(tmp_path):
    examples = tmp_path / "examples"
    examples.mkdir()
    draw_scan(examples / "a.png", 0)
    draw_scan(examples / "alike.png", 1)
    with Image.open(examples / "a.png") as image:
        image.resize((image.width - 60, image.height - 40)).save(examples / "smaller.png")
    with Workspace(tmp_path / "workspace") as workspace:
        yield Desk(HeldSynthesizer(), workspace, examples)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def held(desk, pool, handler, *given):
    """`handler` in another thread, which waits for a label."""
    desk.synthesizer.hold()
    answer = pool.submit(handler, *given)
    assert desk.synthesizer.inside.wait(WAIT)
    return answer


def after(desk, answer):
    """The answer, once labels are computed again."""
    desk.synthesizer.go_on.set()
    return answer.result(WAIT)


@pytest.mark.parametrize("other", ["alike.png", "smaller.png"])
def test_a_label_stays_away_from_a_scan_opened_meanwhile(desk, pool, other):
    desk.open("a.png")
    desk.paint("Knife")
    answer = held(desk, pool, desk.adjust, 2)
    desk.open(other)  # and does not wait
    after(desk, answer)
    session = desk.session
    assert session.scan.name == other
    assert session.painting is session.sample is session.result is None
    with pytest.raises(gr.Error, match="Nothing has been painted"):
        desk.decide("accept", 2)
    assert desk.stored == [("a.png", "Knife", "pending")]


def test_a_label_stays_away_from_a_sample_looked_at_meanwhile(desk, pool):
    desk.open("a.png")
    desk.paint("Knife")
    desk.decide("accept")
    desk.paint("Gun")
    answer = held(desk, pool, desk.adjust, 2)
    desk.deciding.inspect(desk.key, {}, SimpleNamespace(id=1))
    after(desk, answer)
    session = desk.session
    assert (session.record, session.decision) == (1, "accept")
    assert [item.category for item in session.sample.objects] == ["Knife"]
    desk.decide("reject")
    assert desk.stored == [("a.png", "Knife", "reject"), ("a.png", "Gun", "pending")]


def test_a_label_stays_away_from_annotations_read_meanwhile(desk, pool, tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    file.write_text("a.png Knife 10 10 40 40\n")
    monkeypatch.setattr("app.placing.served_folder", lambda: tmp_path)
    monkeypatch.setattr("app.placing.gr.Info", lambda *given, **named: None)
    desk.open("a.png")
    desk.paint("Knife")
    answer = held(desk, pool, desk.adjust, 2)
    files = [{"name": "a.txt", "path": str(file)}]
    desk.placing.annotate(desk.key, {}, "add", SimpleNamespace(files=files))
    after(desk, answer)
    assert len(desk.session.scan.annotations) == 1
    assert desk.session.sample is desk.session.result is None


@pytest.mark.parametrize("back", [False, True])
def test_a_decision_is_on_what_was_shown_when_it_was_made(desk, pool, back):
    desk.open("a.png")
    desk.paint("Knife")
    desk.decide("accept")
    desk.paint("Gun")
    answer = held(desk, pool, desk.decide, "reject", 2)
    if back:
        desk.deciding.inspect(desk.key, {}, SimpleNamespace(id=1))
    else:
        desk.open("alike.png")
    with pytest.raises(gr.Error, match="nothing was decided"):
        after(desk, answer)
    assert desk.stored == [("a.png", "Knife", "accept"), ("a.png", "Gun", "pending")]


def test_a_decision_waits_for_the_label_that_was_asked_for_before(desk, pool):
    desk.open("a.png")
    desk.paint("Knife")
    label = held(desk, pool, desk.adjust, 2)
    decision = pool.submit(desk.decide, "accept", 3)
    after(desk, label)
    decision.result(WAIT)
    assert desk.stored == [("a.png", "Knife", "accept")]
    assert desk.workspace.load(1).request.divisions == 3
