"""Boxes on the page: regions, proposals, edits by hand, annotations."""

import base64
import json

import numpy as np
import pytest
from browsing import CHROMIUM, draw_scan

from xsyn_core.categories import CATALOGS
from xsyn_core.sample import Grounding
from xsyn_core.scan import read_scan

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def test_region_click_move_delete_undo(operator, examples, painter):
    page = operator.page
    operator.open_example(1)
    region = painter.idle(read_scan(examples / "bag-1.png"), CATALOGS["pidray"])[-1]
    ys, xs = region.mask.nonzero()
    middle = len(xs) // 2
    page.mouse.move(*operator.at(xs[middle] + 0.5, ys[middle] + 0.5))
    page.mouse.click(*operator.at(xs[middle] + 0.5, ys[middle] + 0.5))
    operator.wait_boxes(1)
    width, height = (round(region.box[i + 2] - region.box[i]) for i in (0, 1))
    assert page.locator("#xs-boxes .row span").inner_text() == f"{width} \u00d7 {height}"
    size = page.locator("#xs-boxes .row span").inner_text()
    before = operator.picture()
    page.keyboard.press("ArrowRight")
    operator.wait_changed(before)
    assert page.locator("#xs-boxes .row span").inner_text() == size
    page.keyboard.press("Delete")
    operator.wait_boxes(0)
    page.keyboard.press("Control+z")
    operator.wait_boxes(1)
    page.keyboard.press("Control+y")
    operator.wait_boxes(0)


def test_the_next_proposal_is_told_of_the_boxes(operator, painter, monkeypatch):
    asked = []

    def propose(scan, catalog, rng, taken=()):
        asked.append([tuple(box) for box in taken])
        return Grounding("Gun", (30.0, 40.0, 90.0, 100.0))

    monkeypatch.setattr(painter, "propose", propose)
    operator.open_example(1)
    operator.draw((150, 160, 220, 210))
    for count in (2, 3):
        operator.page.keyboard.press("p")
        operator.wait_boxes(count)
    (drawn,), (same, proposed) = asked
    assert drawn == same and np.abs(np.subtract(drawn, (150, 160, 220, 210))).max() <= 2
    assert proposed == (30, 40, 90, 100)


def test_what_fits_a_box_counts_in_scans_of_the_datasets_size(operator):
    operator.open_example(0)
    operator.draw((100, 100, 198, 198))
    told = operator.page.locator("#xs-boxes optgroup[label='Fits this box'] option")
    width, height = map(int, operator.page.inner_text("#xs-boxes .row span").split(" \u00d7 "))
    assert width * height < 10_000
    names = CATALOGS["pidray"].fitting((0, 0, width, height), (320, 420))
    assert tuple(name.replace(" ", "_") for name in told.all_inner_texts()) == names
    assert names != CATALOGS["pidray"].candidates(width * height)


def test_a_size_that_its_category_is_not_known_with_is_told(operator):
    operator.open_example(0)
    operator.draw((100, 100, 198, 198))
    told = operator.page.locator("#xs-boxes .row span")
    groups = CATALOGS["pidray"].groups
    width, height = map(int, told.inner_text().split(" \u00d7 "))
    own = groups.index(CATALOGS["pidray"].fitting((0, 0, width, height), (320, 420)))
    seen = []
    for number, names in enumerate(groups):
        operator.page.locator("#xs-boxes select").select_option(names[0])
        how = {-1: "small", 1: "large"}.get(int(np.sign(own - number)))
        name = names[0].replace("_", " ")
        assert told.get_attribute("title") == (how and f"Unusually {how} for {name}")
        seen.append(how)
    assert None in seen and len(set(seen)) > 1


def test_a_box_longer_than_its_category_is_told(operator):
    operator.open_example(0)
    operator.draw((60, 100, 360, 150))
    told = operator.page.locator("#xs-boxes .row span")
    fit = operator.page.locator("#xs-boxes optgroup[label='Fits this box'] option")
    width, height = map(int, told.inner_text().split(" \u00d7 "))
    names = CATALOGS["pidray"].fitting((0, 0, width, height), (320, 420))
    assert tuple(name.replace(" ", "_") for name in fit.all_inner_texts()) == names
    assert "Baton" in names and "Gun" not in names
    for name, words in (("Gun", "Unusually long for Gun"), ("Baton", None)):
        operator.page.locator("#xs-boxes select").select_option(name)
        assert told.get_attribute("title") == words


def test_resize_by_a_handle(operator):
    operator.open_example(0)
    operator.draw((100, 100, 180, 160))
    page = operator.page
    page.mouse.move(*operator.at(180, 160))
    page.mouse.down()
    page.mouse.move(*operator.at(200, 170))
    page.mouse.move(*operator.at(220, 180))
    page.mouse.up()
    page.wait_for_function(
        "document.querySelector('#xs-boxes .row span').textContent === '120 \u00d7 80'"
    )


def test_catalogue_changes_the_names(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((120, 90, 240, 190))
    page.click("#xs-catalog input")
    page.click("[data-testid=dropdown-option]:has-text('OPIXray')")
    page.wait_for_function(
        "[...document.querySelectorAll('#xs-boxes option')].some(o => o.value === 'Folding_Knife')"
    )
    names = page.locator("#xs-boxes option").all_inner_texts()
    assert sorted(names) == sorted(
        ["Folding Knife", "Straight Knife", "Scissor", "Utility Knife", "Multi-tool Knife"]
    )
    page.click("#xs-catalog input")
    page.click("[data-testid=dropdown-option]:has-text('PIDray')")
    page.wait_for_function("[...document.querySelectorAll('#xs-boxes option')].length === 12")
    operator.wait_idle()


def test_late_boxes_join_those_drawn_meanwhile(operator):
    page = operator.page
    operator.open_example(0)
    with operator.held() as let_go:
        page.keyboard.press("p")
        operator.draw((30, 30, 90, 80))
        page.mouse.move(*operator.at(300, 200))
        page.mouse.down()
        page.mouse.move(*operator.at(340, 240))
        let_go()
    operator.wait_boxes(2)
    page.mouse.move(*operator.at(360, 280))
    page.mouse.up()
    operator.wait_boxes(3)
    sizes = page.locator("#xs-boxes .row span").all_inner_texts()
    assert sizes[0] == "60 \u00d7 50" and sizes[2] == "60 \u00d7 80"
    for left in (2, 1):
        page.keyboard.press("Control+z")
        operator.wait_boxes(left)
    assert page.locator("#xs-boxes .row span").inner_text() == "60 \u00d7 50"


def test_boxes_drawn_after_a_change_of_mode_stay(operator):
    page = operator.page
    operator.open_example(0)
    operator.draw((30, 30, 90, 80))
    operator.draw((120, 30, 200, 80))
    with operator.held() as let_go:
        page.click("#xs-variant label:has-text('Modify')")
        operator.draw((30, 200, 90, 280))
        page.mouse.move(*operator.at(160, 55))
        page.mouse.down()
        page.mouse.move(*operator.at(170, 65))
        page.mouse.move(*operator.at(180, 75))
        let_go()
    # The first box made room, the second is in the operator's hand.
    operator.wait_boxes(2)
    page.mouse.move(*operator.at(200, 95))
    page.mouse.up()
    assert operator.boxes() == 2
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    operator.wait_boxes(3)
    page.click("#xs-variant label:has-text('Add')")
    operator.wait_boxes(0)


def guns(folder, boxes):
    """A COCO file of a gun in each of these scans, by name: x, y, width, height."""
    file = folder / "instances.json"
    images, annotations = [], []
    for k, (name, box) in enumerate(boxes.items(), 1):
        images.append({"id": k, "file_name": name, "width": 420, "height": 320})
        annotations.append({"id": k, "image_id": k, "category_id": 7, "bbox": box})
    categories = [{"id": 7, "name": "Gun"}]
    whole = {"images": images, "categories": categories, "annotations": annotations}
    file.write_text(json.dumps(whole))
    return file


def test_annotations_are_modified(operator, tmp_path):
    page = operator.page
    boxes = {"bag-0.png": [100, 80, 90, 60], "bag-1.png": [50, 80, 70, 50]}
    file = guns(tmp_path, boxes)
    operator.open_example(0)
    page.click("#xs-variant label:has-text('Modify')")
    page.set_input_files("input[type=file][data-el=labels]", str(file))
    operator.wait_boxes(1)
    assert page.locator("#xs-boxes .row span").inner_text() == "90 \u00d7 60"
    operator.wait_idle()
    operator.paint()
    operator.open_example(1)
    page.click("#xs-variant label:has-text('Add')")
    operator.wait_boxes(0)
    page.click("#xs-variant label:has-text('Modify')")
    operator.wait_boxes(1)
    assert page.locator("#xs-boxes .row span").inner_text() == "70 \u00d7 50"
    # what can be modified is proposed, in the place of what was drawn
    page.click("#xs-boxes .row [data-act=delete]")
    operator.wait_boxes(0)
    operator.draw((200, 100, 330, 200))
    page.keyboard.press("p")
    page.wait_for_selector("#xs-boxes .row span:has-text('70 \u00d7 50')")
    assert operator.boxes() == 1
    page.click("#xs-variant label:has-text('Add')")
    operator.wait_boxes(0)


def test_class_names_are_chosen_together_with_yolo_labels(operator, tmp_path):
    page = operator.page
    operator.open_example(0)
    page.click("#xs-variant label:has-text('Modify')")
    labels, names = tmp_path / "bag-0.txt", tmp_path / "classes.txt"
    labels.write_text("1 0.5 0.5 0.2 0.25\n")
    names.write_text("Gun\nKnife\n")
    field = "input[type=file][data-el=labels]"
    operator.calm()
    page.set_input_files(field, str(labels))
    page.wait_for_selector("[data-testid=toast-text]:has-text('choose or drop them together')")
    assert operator.toast().startswith("bag-0.txt has class numbers")
    operator.wait_idle()
    operator.calm()
    page.set_input_files(field, [str(names), str(labels)])
    page.wait_for_selector("#xs-boxes .row span:text-is('84 \u00d7 80')")
    assert operator.boxes() == 1
    assert page.locator("#xs-boxes select").input_value() == "Knife"
    operator.wait_idle()
    # such labels are of one scan, and stay with it
    operator.open_example(1)
    operator.wait_boxes(0)
    operator.open_example(0)
    operator.wait_boxes(1)
    page.click("#xs-variant label:has-text('Add')")
    operator.wait_boxes(0)


def test_a_scan_opens_though_nothing_in_it_can_be_modified(operator, tmp_path):
    page = operator.page
    file = guns(tmp_path, {"bag-1.png": [50, 80, 3, 3]})
    page.click("#xs-variant label:has-text('Modify')")
    operator.open_example(1)
    page.set_input_files("input[type=file][data-el=labels]", str(file))
    page.wait_for_selector("[data-testid=toast-text]:has-text('1 annotation of this scan read')")
    operator.wait_idle()
    operator.calm()
    operator.open_example(1)
    assert "no annotated item" in operator.toast()
    page.click("#xs-variant label:has-text('Add')")


def test_nothing_is_proposed_to_modify_where_nothing_is_known(operator, tmp_path):
    page = operator.page
    path = draw_scan(tmp_path / "unlisted.png", 2)
    page.set_input_files("input[type=file][data-el=file]", str(path))
    page.wait_for_selector("[data-el=title]:text-is('unlisted.png')")
    operator.wait_idle()
    page.click("#xs-variant label:has-text('Modify')")
    assert "no annotations" in operator.toast()
    operator.draw((100, 80, 190, 140))
    operator.calm()
    page.keyboard.press("p")
    assert "no annotations" in operator.toast()
    assert operator.boxes() == 1
    page.click("#xs-variant label:has-text('Add')")


def test_a_scan_and_its_annotations_are_dropped_anywhere(operator, tmp_path):
    page = operator.page
    scan = draw_scan(tmp_path / "dropped.png", 3)
    file = guns(tmp_path, {"dropped.png": [100, 80, 90, 60]})
    page.click("#xs-variant label:has-text('Modify')")
    sent = page.evaluate_handle(
        """(files) => {
            const sent = new DataTransfer();
            for (const [name, coded] of files) {
                const bytes = Uint8Array.from(atob(coded), (c) => c.charCodeAt(0));
                sent.items.add(new File([bytes], name));
            }
            return sent;
        }""",
        [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in (scan, file)],
    )
    page.dispatch_event("#xs-side", "drop", {"dataTransfer": sent})
    page.wait_for_function(
        "document.querySelector('[data-el=title]').textContent === 'dropped.png'"
    )
    operator.wait_boxes(1)
    assert page.locator("#xs-boxes .row span").inner_text() == "90 \u00d7 60"
    operator.wait_idle()
    page.click("#xs-variant label:has-text('Add')")
    operator.wait_boxes(0)
