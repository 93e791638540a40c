"""The whole chain on a device whose tensors cannot be mixed with the CPU's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# In processes of their own: the device has to be there before anything else is imported.
MIXED = """
import sys
from other_device import Other

with Other():
    import torch

    there = torch.ones(2, device="other:0")
    assert (there + there).device.type == "other" and (there + there).cpu().tolist() == [2, 2]
    {"sum": lambda: there + torch.ones(2), "numpy": there.numpy}[sys.argv[1]]()
"""
STORIES = """
import json, sys
from dataclasses import replace
from other_device import Other

with Other():
    import numpy as np
    import torch
    from xsyn_core.sample import Grounding, Request
    from xsyn_core.scan import Annotation, read_scan
    from xsyn_core.synthesis import Synthesizer
    from xsyn_core.weight_sources import ASSETS
    from xsyn_core.weights import load_models

    known = Annotation("Knife", (90, 60, 180, 140))
    scan = read_scan(ASSETS / "examples" / "soft_bag.png", annotations=(known,))
    synthesizers = []
    for device in ("cpu", "other:0"):
        models = load_models(device=device)
        assert next(models.diffusion.unet.parameters()).device.type == device.split(":")[0]
        # the CPU's own arithmetic may be a coarser one
        models = replace(models, diffusion=replace(models.diffusion, autocast=torch.float32))
        synthesizers.append(Synthesizer(models))
    found = [len(synthesizer.segments(scan)) for synthesizer in synthesizers]
    results = {"found": found}
    for name, options in json.loads(sys.argv[1]).items():
        boxes = [("Gun", known.box)]
        if options.get("variant") != "modify":
            boxes = [("Gun", (60, 50, 230, 190)), ("Pliers", (150, 130, 220, 200))]
        request = Request(tuple(Grounding(*box) for box in boxes), steps=3, alpha=0.6, **options)
        here, there = [synthesizer.synthesize(scan, request) for synthesizer in synthesizers]
        assert (here.clear != scan.pixels).any() and here.occlusion == there.occlusion is not None
        pairs = [(here.image, there.image), (here.clear, there.clear)]
        pairs += [(a.attention, b.attention) for a, b in zip(here.objects, there.objects)]
        results[name] = [float(np.abs(np.subtract(*pair, dtype=float)).max()) for pair in pairs]
    print(json.dumps(results))
"""
CASES = {
    "repainted and blended at every step": {"background": "repaint", "occlusion": "every-step"},
    "modify": {"variant": "modify"},
    "whole frame": {"frame": "whole", "sampler": "dpm++", "guidance": 1.0, "occlusion": "pixel"},
    "most active points": {"points": "topk"},
}


def _run(program: str, argument: str) -> subprocess.CompletedProcess:
    paths = os.pathsep.join(map(str, (TESTS, TESTS.parent)))
    return subprocess.run(
        [sys.executable, "-c", program, argument],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(("how", "words"), [("sum", "two devices"), ("numpy", "numpy() is not")])
def test_the_device_refuses_to_be_taken_for_the_cpu(how, words):
    done = _run(MIXED, how)
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def results():
    """By case, how far the images and the attention of both devices are apart at most."""
    done = _run(STORIES, json.dumps(CASES))
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_another_device_finds_the_segments_that_the_cpu_finds(results):
    here, there = results["found"]
    assert here == there > 0


@pytest.mark.parametrize("case", CASES)
def test_another_device_paints_what_the_cpu_paints(results, case):
    image, clear, *attention = results[case]
    assert image <= 1 and clear <= 1
    assert len(attention) == (1 if case == "modify" else 2) and max(attention) < 1e-4
