"""The whole story on a machine without a network: nothing is looked up, nothing is sent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xsyn_core.weight_sources import ASSETS

ROOT = Path(__file__).parents[1]
# Runs in a process of its own, before anything of the project is imported. The audit hook sees
# every connection and every name that is looked up, whoever asks; refusing alone would not do,
# since a library may swallow the error.
GUARD = """
import socket, sys

tried = []
LOCAL = ("127.0.0.1", "::1", "localhost", "", "0.0.0.0", None)

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if arguments[0].family == getattr(socket, "AF_UNIX", None):
            return
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else address
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in LOCAL:
        tried.append(f"{event} {host}")
        raise OSError("no network")

sys.addaudithook(watch)
"""
STORY = """
import json, sys
from pathlib import Path

import numpy as np
from PIL import Image

from xsyn_core.categories import PIDRAY
from xsyn_core.curation import coco
from xsyn_core.curation.workspace import Workspace
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import read_scan
from xsyn_core.simulation.dataset import simulate_scan
from xsyn_core.synthesis import Synthesizer
from xsyn_core.weights import load_models

folder, diffusion, sam = Path(sys.argv[1]), *sys.argv[2:]
pixels = simulate_scan(np.random.default_rng(0), (192, 256)).pixels
Image.fromarray(pixels).save(folder / "bag.png")
scan = read_scan(folder / "bag.png")
synthesizer = Synthesizer(load_models(diffusion, sam, "cpu"))
regions = synthesizer.idle(scan, PIDRAY)
request = Request((Grounding("Knife", (90.0, 70.0, 150.0, 110.0)),), steps=2)
sample = synthesizer.synthesize(scan, request)
with Workspace(folder / "workspace") as workspace:
    workspace.decide(workspace.add(sample), "accept")
    report = coco.export(workspace, folder / "dataset")
print(json.dumps({"regions": len(regions), "painted": report.painted, "tried": tried}))
"""
REACHING_OUT = """
import urllib.request
for address in ("http://192.0.2.1/", "https://example.com/"):
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=1)
    except OSError:
        pass
print(json.dumps(tried))
"""


def run(program, *arguments):
    # Nothing tells the libraries that they are offline: they have to behave by themselves.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith("_OFFLINE") and not name.lower().endswith("_proxy")
    }
    return subprocess.run(
        [sys.executable, "-c", GUARD + program, *map(str, arguments)],
        cwd=ROOT,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def weights(request):
    """The embedded models if they are there, else random ones."""
    if (ASSETS / "diffusion" / "unet").is_dir() and (ASSETS / "segmenter").is_dir():
        return "embedded", "embedded"
    return request.getfixturevalue("tiny_files")


def test_the_guard_sees_and_refuses(tmp_path):
    done = run("import json" + REACHING_OUT)
    assert done.returncode == 0, done.stderr
    tried = json.loads(done.stdout)
    assert any("192.0.2.1" in entry for entry in tried)
    assert any("example.com" in entry for entry in tried)


def test_the_story_needs_no_network(weights, tmp_path):
    done = run(STORY, tmp_path, *weights)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["tried"] == []
    assert told["painted"] == 1
    assert (tmp_path / "dataset" / "annotations" / "instances.json").is_file()
