"""Prompts and losses of SAM, against slow and obvious versions."""

import numpy as np
import pytest
import torch

from xsyn_core.training.prompting import KINDS, mask_losses, prompt


def test_mask_losses_against_a_loop():
    rng = np.random.default_rng(0)
    logits, shares = rng.normal(0, 2, (2, 3, 4, 4)), rng.random((2, 1, 4, 4))
    got = mask_losses(torch.from_numpy(logits), torch.from_numpy(shares)).numpy()
    for n in range(2):
        for k in range(3):
            focal = overlap = total = 0.0
            for x, share in zip(logits[n, k].flat, shares[n, 0].flat, strict=True):
                p = 1 / (1 + np.exp(-x))
                entropy = -share * np.log(p) - (1 - share) * np.log(1 - p)
                focal += (0.8 * share + 0.2 * (1 - share)) * abs(p - share) * entropy / 16
                overlap, total = overlap + p * share, total + p + share
            dice = 1 - (2 * overlap + 1) / (total + 1)
            assert got[n, k] == pytest.approx(10 * focal + dice, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_point_into_and_out_of_the_object(kind):
    rng = np.random.default_rng(1)
    mask = np.zeros((128, 128), bool)
    mask[30:60, 50:90] = True
    box = np.array([100, 60, 180, 120], np.float32)
    for _ in range(20):
        _, points, labels = prompt(mask, box, kind, rng)
        assert list(labels) == [1] * kind[1] + [0] * kind[2]
        for (x, y), label in zip(points, labels, strict=True):
            assert mask[int(y / 2), int(x / 2)] == bool(label)
