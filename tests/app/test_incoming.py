import numpy as np
import pytest

from app import incoming
from xsyn_core.categories import CATALOGS, PIDRAY
from xsyn_core.errors import XsynError
from xsyn_core.scan import make_scan

SCAN = make_scan(np.full((200, 300, 3), 255, np.uint8), "bag.png")
GOOD = {"category": "knife", "box": [10, 20, 60, 90]}


def sent(*boxes, scan="a1"):
    return {"scan": scan, "boxes": list(boxes)}


def test_good_boxes_become_groundings():
    (found,) = incoming.groundings(sent(GOOD), SCAN, "a1", PIDRAY)
    assert found.category == "Knife"
    assert found.box == (10, 20, 60, 90)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "boxes",
        [],
        {},
        {"scan": "a1", "boxes": {}},
        sent(),
        sent(GOOD, scan="b2"),
        sent(GOOD, scan=None),
        sent(*[GOOD] * 31),
        sent("box"),
        sent({"box": [10, 20, 60, 90]}),
        sent({**GOOD, "category": 7}),
        sent({**GOOD, "category": "Bomb"}),
        sent({**GOOD, "box": None}),
        sent({**GOOD, "box": [1, 2, 3]}),
        sent({**GOOD, "box": [1, 2, 3, "x"]}),
        sent({**GOOD, "box": [1, 2, float("nan"), 40]}),
        sent({**GOOD, "box": [1, 2, float("inf"), 40]}),
        sent({**GOOD, "box": [60, 20, 10, 90]}),
        sent({**GOOD, "box": [400, 20, 500, 90]}),
        sent({**GOOD, "box": [10, 20, 12, 90]}),
        sent({**GOOD, "box": [0, 0, 300, 200]}),
        sent({**GOOD, "box": [[1], 2, 3, 4]}),
    ],
)
def test_bad_boxes_are_refused(value):
    with pytest.raises(XsynError):
        incoming.groundings(value, SCAN, "a1", PIDRAY)


def test_drawn_leaves_broken_boxes_out():
    broken = ("box", {}, {**GOOD, "box": [1, 2, 3]}, {**GOOD, "box": [1, 2, float("nan"), 4]})
    assert incoming.drawn(sent(*broken, GOOD), "a1") == [GOOD]
    for value in (None, {"boxes": 3, "scan": "a1"}, sent(GOOD, scan="b2")):
        assert incoming.drawn(value, "a1") == []


SETTINGS = {
    "variant": "add",
    "catalog": "pidray",
    "seed": 3,
    "steps": 20,
    "guidance": 7.5,
    "sampler": "ddim",
    "frame": "window",
    "background": "repaint",
    "points": "median",
    "divisions": 4,
    "occlude": True,
    "alpha": 0.3,
    "occlusion": "latent",
}


def test_request_carries_every_setting():
    found = incoming.request(SCAN, "a1", sent(GOOD), SETTINGS, 2, 5, CATALOGS)
    assert {name: getattr(found, name) for name in SETTINGS} == {**SETTINGS, "catalog": PIDRAY}
    assert (found.occluder, found.placement) == (2, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("variant", "paint"),
        ("catalog", "../etc"),
        ("seed", None),
        ("seed", -1),
        ("seed", 2**31),
        ("seed", 1.5),
        ("seed", "x"),
        ("steps", 0),
        ("steps", 10**9),
        ("guidance", float("nan")),
        ("guidance", []),
        ("sampler", "euler"),
        ("frame", None),
        ("background", "white"),
        ("points", "mean"),
        ("divisions", 40),
        ("alpha", 1.01),
        ("alpha", "inf"),
        ("occlusion", {}),
    ],
)
def test_bad_settings_are_refused(name, value):
    with pytest.raises(XsynError):
        incoming.request(SCAN, "a1", sent(GOOD), {**SETTINGS, name: value}, 0, 0, CATALOGS)


def test_uploads_stay_in_their_folder(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    inside = folder / "a.png"
    inside.write_bytes(b"x")
    outside = tmp_path / "secret.png"
    outside.write_bytes(b"x")
    link = folder / "link.png"
    link.symlink_to(outside)
    assert incoming.uploads([{"path": str(inside), "name": "../b.png"}], folder) == [
        ("b.png", inside)
    ]
    for bad in (str(outside), str(link), str(folder / ".." / "secret.png"), str(folder), "", 3):
        with pytest.raises(XsynError):
            incoming.uploads([{"path": bad, "name": "x"}], folder)
    for bad in (None, [], "x", [3], [{"path": str(inside)}] * 101):
        with pytest.raises(XsynError):
            incoming.uploads(bad, folder)


def test_sources_of_weights(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    for given, found in (
        ("", "embedded"),
        ("  embedded ", "embedded"),
        (" 'C:\\weights\\a b.bin' ", "C:\\weights\\a b.bin"),
        ("~/sam.pth", "/home/ann/sam.pth"),
        ("owner/name", "owner/name"),
    ):
        assert incoming.source(given, "SAM") == found
    for wrong in (None, 3, ["x"], "a\nb", "x" * 1001, "\0"):
        with pytest.raises(XsynError, match="SAM needs a path"):
            incoming.source(wrong, "SAM")
