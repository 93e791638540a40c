"""Several processes that train together, against one that does their work."""

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import torch

from xsyn_core.training.loop import Plan, train

ROOT = Path(__file__).parents[2]

TWO = """
    import atexit, sys
    from pathlib import Path
    def threads(moment):
        names = [p.read_text().strip() for p in Path("/proc/self/task").glob("*/comm")]
        Path(sys.argv[1], f"threads_{moment}_of{processes.number()}").write_text(" ".join(names))
    # registered first, so told last
    atexit.register(threads, "after")
    import numpy as np, torch
    from xsyn_core.training import processes
    from xsyn_core.training.loop import Plan, train
    torch.manual_seed(processes.number())
    net = torch.nn.Linear(4, 1)
    torch.nn.init.constant_(net.weight, 0.5), torch.nn.init.zeros_(net.bias)
    seen = []
    def draw(k, rng):
        return torch.from_numpy(rng.standard_normal((8, 4), np.float32))
    def step(k, x):
        seen.append(x)
        return {"loss": (net(x)[:, 0] - x.sum(1)).square().mean()}
    train(net, draw, step, Plan(steps=5, rate=0.05, ema=0.0, save_every=0.0), Path(sys.argv[1]))
    threads("before")
    torch.save((net.weight.detach(), seen), f"{sys.argv[1]}/of{processes.number()}.pt")
"""


# The second one's loss is no number at step 4; the scans were shared before.
DIVERGING = """
    import sys
    from pathlib import Path
    import numpy as np, torch
    from xsyn_core.errors import XsynError
    from xsyn_core.training import parts, processes
    from xsyn_core.training.loop import Plan, train
    own, folder = [], Path(sys.argv[1])
    def encoded(some):
        own.extend(some)
        return parts.Part({"values": np.array(some)}, {"numbers": np.array(some)})
    parts.PART = 2
    found = parts.Parts(parts.encode(range(9), folder / "cache", encoded), ["values"])
    net = torch.nn.Linear(4, 1)
    def step(k, x):
        spoilt = processes.number() == 1 and k == 3
        return {"loss": net(x).square().mean() * (np.nan if spoilt else 1)}
    def draw(k, rng):
        return torch.ones(2, 4)
    try:
        train(net, draw, step, Plan(steps=9, rate=0.05, save_every=0.0), folder)
    except XsynError as error:
        told = str(error)
    numbers = found.table["numbers"].tolist()
    finite = all(bool(p.isfinite().all()) for p in net.parameters())
    # no name is kept of the group, which would outlive its end
    patience = torch.distributed.distributed_c10d._get_default_group()._get_backend(
        torch.device("cpu")
    ).options._timeout.total_seconds()
    found = own, numbers, told, finite, patience
    torch.save(found, f"{folder}/of{processes.number()}.pt")
"""


def run_two(code, folder):
    """What each of two processes that run `code` leaves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    shared |= {"MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(folder)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=180) for process in running] == [0, 0]
    return [torch.load(folder / f"of{k}.pt") for k in range(2)]


def test_two_processes_share_scans_and_end_together_where_one_diverges(tmp_path):
    (own, numbers, told, finite, patience), other = run_two(DIVERGING, tmp_path)
    assert (own, other[0]) == ([0, 1, 4, 5, 8], [2, 3, 6, 7])
    assert numbers == other[1] == list(range(9))
    assert told == other[2] and "at step 4" in told and "of step 3" in told
    assert finite and other[3]
    # one may take hours longer than the other
    assert min(patience, other[4]) > 6 * 3600


def test_two_processes_average_their_gradients(tmp_path):
    (first, seen), (second, others) = run_two(TWO, tmp_path)
    assert torch.equal(first, second)
    assert not any(torch.equal(a, b) for a, b in zip(seen, others, strict=True))
    # as one process with both halves of the batch would have done
    net = torch.nn.Linear(4, 1)
    torch.nn.init.constant_(net.weight, 0.5), torch.nn.init.zeros_(net.bias)

    def draw(k, rng):
        return torch.cat([seen[k], others[k]])

    def step(k, x):
        return {"loss": (net(x)[:, 0] - x.sum(1)).square().mean()}

    train(net, draw, step, Plan(steps=5, rate=0.05, ema=0.0), tmp_path / "one")
    assert torch.allclose(net.weight, first, atol=1e-5)
    # A thread of the group that is left when the interpreter ends can abort it
    # (pytorch issue 190489); only Linux tells their names.
    for k in range(2) if Path("/proc/self/task").exists() else ():
        assert "gloo" in (tmp_path / f"threads_before_of{k}").read_text()
        assert "gloo" not in (tmp_path / f"threads_after_of{k}").read_text()
