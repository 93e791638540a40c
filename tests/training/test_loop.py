"""The training loop: resuming, averaging, schedule."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from xsyn_core.training.loop import Plan, train


def model():
    torch.manual_seed(3)
    return torch.nn.Linear(4, 1)


def make_step(net, stop_at=None):
    def step(k, rng):
        if k == stop_at:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.standard_normal((8, 4), np.float32))
        return {"loss": (net(x)[:, 0] - x.sum(1)).square().mean()}

    return step


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    plan = Plan(steps=40, rate=0.05, warmup=5, ema=0.9, save_every=0.0)
    whole = model()
    expected = train(whole, make_step(whole), plan, tmp_path / "whole")
    broken = model()
    with pytest.raises(KeyboardInterrupt):
        train(broken, make_step(broken, stop_at=23), plan, tmp_path / "broken")
    resumed = model()
    average = train(resumed, make_step(resumed), plan, tmp_path / "broken")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(expected.parameters(), average.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_and_the_average_lags_behind(tmp_path):
    net = model()
    seen = []
    plan = Plan(steps=300, rate=0.05, warmup=5, ema=0.95)
    average = train(net, make_step(net), plan, tmp_path, lambda _, done: seen.append(done))
    assert seen == [300]
    assert torch.allclose(average.weight, torch.ones(1, 4), atol=0.05)
    assert not torch.equal(average.weight, net.weight)
    rows = (tmp_path / "loss.csv").read_text().splitlines()
    assert [int(r.split(",")[0]) for r in rows] == list(range(50, 301, 50))


def test_the_rate_warms_up_holds_and_decays():
    plan = Plan(steps=1000, rate=1.0, warmup=100, decay=0.3)
    rates = [plan.rate_at(k) for k in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[100:700] == [1.0] * 600
    assert all(a > b for a, b in pairwise(rates[705:900]))
    assert rates[-1] == pytest.approx(0.05)
