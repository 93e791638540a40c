"""The training loop: resuming, averaging, schedule."""

import os
import signal
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from xsyn_core.errors import XsynError
from xsyn_core.training.loop import Plan, _ahead, _Batches, steps_done, train
from xsyn_core.training.optimiser import Optimiser, orthogonal


def model():
    torch.manual_seed(3)
    return torch.nn.Linear(4, 1)


def deep_model():
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 40), torch.nn.ReLU(), torch.nn.Linear(40, 40), torch.nn.Linear(40, 1)
    )


def draw(k, rng):
    return torch.from_numpy(rng.standard_normal((8, 4), np.float32))


def make_step(net, stop_at=None):
    def step(k, x):
        if k == stop_at:
            raise KeyboardInterrupt
        return {"loss": (net(x)[:, 0] - x.sum(1)).square().mean()}

    return step


@pytest.mark.parametrize("model", [model, deep_model])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, model):
    plan = Plan(steps=40, rate=0.05, warmup=5, ema=0.9, save_every=0.0)
    whole = model()
    expected = train(whole, draw, make_step(whole), plan, tmp_path / "whole")
    broken = model()
    with pytest.raises(KeyboardInterrupt):
        train(broken, draw, make_step(broken, stop_at=23), plan, tmp_path / "broken")
    resumed = model()
    average = train(resumed, draw, make_step(resumed), plan, tmp_path / "broken")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(expected.parameters(), average.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_the_step_begun(tmp_path, asked, capsys):
    plan = Plan(steps=40, rate=0.05, warmup=5, ema=0.9, save_every=1e9)
    whole = deep_model()
    train(whole, draw, make_step(whole), plan, tmp_path / "whole")
    broken = deep_model()
    step = make_step(broken)
    before = signal.getsignal(asked)

    def asked_amid(k, x):
        if k == 23:
            os.kill(os.getpid(), asked)
        return step(k, x)

    with pytest.raises(KeyboardInterrupt):
        train(broken, draw, asked_amid, plan, tmp_path / "broken")
    assert "finished first" in capsys.readouterr().err
    assert signal.getsignal(asked) is before
    assert torch.load(tmp_path / "broken" / "checkpoint.pt")["step"] == 24
    resumed = deep_model()
    train(resumed, draw, make_step(resumed), plan, tmp_path / "broken")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_asked_to_stop_while_it_saves_last_nothing_follows(tmp_path):
    net = model()
    with pytest.raises(KeyboardInterrupt):
        train(
            net,
            draw,
            make_step(net),
            Plan(steps=3, rate=0.05),
            tmp_path,
            lambda average, done: os.kill(os.getpid(), signal.SIGTERM),
        )
    assert torch.load(tmp_path / "checkpoint.pt")["step"] == 3


def test_subnormal_numbers_are_zero_while_training_alone(tmp_path):
    net = model()
    learn, kept = make_step(net), []

    def step(k, x):
        kept.append(bool((torch.tensor([1e-39]) * 0.5).any()))
        return learn(k, x)

    train(net, draw, step, Plan(steps=2, rate=0.05), tmp_path)
    assert kept == [False, False]
    assert (torch.tensor([1e-39]) * 0.5).any()


def test_it_learns_and_the_average_lags_behind(tmp_path):
    net = model()
    seen = []
    plan = Plan(steps=300, rate=0.05, warmup=5, ema=0.95)
    average = train(net, draw, make_step(net), plan, tmp_path, lambda _, done: seen.append(done))
    assert seen == [300]
    assert torch.allclose(average.weight, torch.ones(1, 4), atol=0.05)
    assert not torch.equal(average.weight, net.weight)
    rows = (tmp_path / "loss.csv").read_text().splitlines()
    assert [int(r.split(",")[0]) for r in rows] == list(range(50, 301, 50))


@pytest.mark.parametrize(("save_every", "told"), [(0.0, "is of step 7"), (1e9, "is no checkpoint")])
def test_a_loss_that_is_no_number_spoils_nothing(tmp_path, save_every, told):
    net = model()
    learn = make_step(net)

    def step(k, x):
        losses = learn(k, x)
        return {"loss": losses["loss"] * (np.nan if k == 7 else 1)}

    plan = Plan(steps=20, rate=0.05, save_every=save_every)
    with pytest.raises(XsynError, match=rf"no number at step 8.*There {told}|last.*{told}.*--rate"):
        train(net, draw, step, plan, tmp_path)
    assert all(p.isfinite().all() for p in net.parameters())
    assert steps_done(tmp_path) == (0 if save_every else 7)


def test_a_finished_run_is_told_of_as_far_as_it_went(tmp_path):
    net, seen = model(), []
    go = partial(train, net, draw, make_step(net), folder=tmp_path)
    go(plan=Plan(steps=60, rate=0.05))
    before = (tmp_path / "loss.csv").read_text()
    go(plan=Plan(steps=60, rate=0.05), on_save=lambda _, done: seen.append(done))
    assert seen == [60] and (tmp_path / "loss.csv").read_text() == before
    with pytest.raises(XsynError, match="of 60 steps, more than the 40 asked for"):
        go(plan=Plan(steps=40, rate=0.05), on_save=lambda _, done: seen.append(done))
    assert seen == [60]


def test_steps_that_are_done_again_are_written_down_once(tmp_path):
    def rows():
        return [int(row.split(",")[0]) for row in (tmp_path / "loss.csv").read_text().splitlines()]

    def go(steps, stop_at=None):
        net = model()
        step = make_step(net, stop_at)
        train(net, draw, step, Plan(steps=steps, rate=0.05, save_every=1e9), tmp_path)

    with pytest.raises(KeyboardInterrupt):
        go(60, stop_at=55)
    assert rows() == [50]
    go(60)
    assert rows() == [50, 60]
    with pytest.raises(KeyboardInterrupt):
        go(120, stop_at=110)
    assert rows() == [50, 60, 100]
    # as after a power cut
    with (tmp_path / "loss.csv").open("ab") as log:
        log.write(bytes(4))
    go(120)
    assert (tmp_path / "loss.csv").read_text().count("100,") == 1
    # without its checkpoint a run begins anew
    (tmp_path / "checkpoint.pt").unlink()
    go(60)
    assert rows() == [50, 60]


DAMAGES = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"no checkpoint",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told(tmp_path, damage):
    net = model()
    train(net, draw, make_step(net), Plan(steps=2, rate=0.05), tmp_path)
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    for go in (
        lambda: train(net, draw, make_step(net), Plan(steps=4, rate=0.05), tmp_path),
        lambda: steps_done(tmp_path),
    ):
        with pytest.raises(XsynError, match=r"checkpoint\.pt is damaged.*remove it"):
            go()


def test_another_file_is_no_checkpoint(tmp_path):
    torch.save({"model": {}, "average": None, "step": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(XsynError, match="no optimiser"):
        steps_done(tmp_path)


def test_batches_of_a_gpu_are_drawn_ahead_by_others_and_are_the_same():
    def told(k, rng):
        return k, os.getpid(), draw(k, rng)

    batches = _Batches(told, seed=7)
    before = torch.random.get_rng_state()
    here = list(_ahead(batches, range(3, 9), torch.device("cpu"), 2))
    there = list(_ahead(batches, range(3, 9), torch.device("cuda"), 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert {pid for _, pid, _ in here} == {os.getpid()}
    others = {pid for _, pid, _ in there}
    assert len(others) == 2 and os.getpid() not in others
    for (k, _, one), (same, _, other) in zip(here, there, strict=True):
        assert k == same and torch.equal(one, other)
    assert [k for k, _, _ in here] == [3, 4, 5, 6, 7, 8]


def test_batches_are_drawn_ahead_where_opencv_has_threads():
    def late(number, frame):
        raise TimeoutError

    def blurred(k, rng):
        image = cv2.GaussianBlur(np.full((600, 600, 3), k, np.uint8), (0, 0), 3)
        return int(image.max()), cv2.getNumThreads()

    previous = signal.signal(signal.SIGALRM, late)
    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 5)
    signal.alarm(60)
    try:
        found = list(_ahead(_Batches(blurred, seed=7), range(4), torch.device("cuda"), 2))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        cv2.setNumThreads(-1)
    # each process in one thread of its own
    assert found == [(0, 1), (1, 1), (2, 1), (3, 1)]


def test_the_rate_warms_up_holds_and_decays():
    plan = Plan(steps=1000, rate=1.0, warmup=100, decay=0.3)
    rates = [plan.rate_at(k) for k in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[100:700] == [1.0] * 600
    assert all(a > b for a, b in pairwise(rates[705:900]))
    assert rates[-1] == pytest.approx(0.05)


def test_a_matrix_moves_alike_in_every_direction_of_its_gradient():
    # U S V' with singular values far apart: AdamW's step and the gradient itself would follow
    # the strongest alone, an orthogonalised one takes all to about the same length
    torch.manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(64, 48))[0] for _ in range(2))
    weight = torch.nn.Parameter(torch.zeros(64, 16, 2, 2))
    basis = v[:, :48] @ torch.diag(torch.logspace(0, -2, 48)) @ u.T
    weight.grad = basis.reshape(weight.shape).clone()
    Optimiser([weight], rate=1.0, weight_decay=0.0).step(1.0)
    lengths = torch.linalg.svdvals(weight.detach().reshape(64, 64))[:48]
    assert lengths.max() / lengths.min() < 3
    # as long as AdamW's step, whose entries are about 0.2
    assert weight.detach().square().mean().sqrt() == pytest.approx(0.2, rel=0.3)


@pytest.mark.parametrize("shape", [(40, 40), (40, 90), (90, 40)])
def test_the_gram_form_makes_the_steps_of_the_plain_iteration(shape):
    torch.manual_seed(0)
    x = torch.randn(2, *shape)
    plain = x / x.norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        gram = plain @ plain.mT
        plain = 3.4445 * plain + (-4.7750 * gram + 2.0315 * gram @ gram) @ plain
    assert torch.allclose(orthogonal(x), plain, atol=1e-3)


def test_small_parameters_follow_adamw():
    torch.manual_seed(0)
    gradients = [torch.randn(3, 5) for _ in range(4)]
    ours, theirs = (torch.nn.Parameter(torch.ones(3, 5)) for _ in range(2))
    optimiser = Optimiser([ours], rate=1.0, weight_decay=0.1)
    reference = torch.optim.AdamW([theirs], 0.01, (0.9, 0.99), weight_decay=0.1)
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimiser.step(0.01)
        reference.step()
    assert torch.equal(ours, theirs)
