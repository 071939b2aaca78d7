"""Means told from a part of the images: right on average, and their errors are what they say."""

import math

import numpy as np
import pytest
import torch

from vae_exp.evaluation.estimates import estimate
from vae_exp.evaluation.subsets import Regression


def population(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is known of all images, a value that depends on it, and the classes."""
    draws = torch.Generator().manual_seed(seed)
    known = torch.randn(count, generator=draws, dtype=torch.float64).exp()
    values = 2 * known + 0.3 * torch.randn(count, generator=draws, dtype=torch.float64)
    return known, values, torch.rand(count, generator=draws) < 0.2


def test_all_images_give_their_own_mean() -> None:
    known, values, _ = population(200, 0)
    assert Regression(values, [known]).mean("x") == estimate(values, "x")
    assert Regression(values[:50], []).mean("x") == estimate(values[:50], "x")
    assert Regression(values[:5], [known]).mean("x") == estimate(values[:5], "x")


def test_the_error_is_that_of_double_sampling() -> None:
    known, values, _ = population(60, 1)
    other = known.square().flip(0)
    found = Regression(values[:40], [known, other]).mean("x")
    columns = np.stack([np.ones(60), known.numpy(), other.numpy()], 1)
    fit, squares, *_ = np.linalg.lstsq(columns[:40], values[:40].numpy())
    told = columns @ fit
    expected = squares[0] / (40 - 3) / 40 + told.var(ddof=1) / 60  # Cochran 1977, 12.6
    assert found.mean == pytest.approx(told.mean())
    assert found.stderr == pytest.approx(math.sqrt(expected))


@pytest.mark.parametrize("by_class", [False, True])
def test_the_mean_is_that_of_the_population_within_its_error(by_class: bool) -> None:
    expected = 2 * math.exp(0.5)
    scores = []
    for seed in range(300):
        known, values, own = population(2000, seed)
        found = Regression(values[:200], [known]).mean("x", own if by_class else None)
        scores.append((found.mean - expected) / found.stderr)
        assert found.images == (int(own[:200].sum()) if by_class else 200)
        assert found.of_images == (int(own.sum()) if by_class else 2000)
        assert by_class or found.stderr < estimate(values[:200], "x").stderr
    spread = torch.tensor(scores)
    assert abs(spread.mean()) < 0.2
    assert 0.8 < spread.std() < 1.2
