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
    import sys
    from pathlib import Path
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
    torch.save((net.weight.detach(), seen), f"{sys.argv[1]}/of{processes.number()}.pt")
"""


def test_two_processes_average_their_gradients(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    shared |= {"MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(TWO), str(tmp_path)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=180) for process in running] == [0, 0]
    (first, seen), (second, others) = (torch.load(tmp_path / f"of{k}.pt") for k in range(2))
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
