"""Intervals over seeds hold as often as they say, also after the best was chosen."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from vae_exp.evaluation.intervals import critical, differences_from, interval

SWEEPS = 1500


def shares(spread: npt.ArrayLike, settings: int, seeds: int) -> tuple[float, float]:
    """Of sweeps of equal settings, how many show one apart from the best: by t alone, by ours.

    Each setting has its spread over seeds, each seed a luck of its own that all settings share.
    The best is that of the highest mean, as if the validation set knew the test set.
    """
    rng = np.random.default_rng(3)
    plain = at_once = 0
    for _ in range(SWEEPS):
        table = rng.normal(size=(settings, seeds)) * np.reshape(spread, (-1, 1))
        table += -150 + 2 * rng.normal(size=seeds)
        best = int(table.mean(1).argmax())
        values = {row: dict(enumerate(table[row].tolist())) for row in range(settings)}
        told = differences_from(best, values)
        alone = [interval((table[row] - table[best]).tolist()) for row in told]
        plain += any(abs(each.mean) > each.half_width for each in alone)
        at_once += any(abs(each.mean) > each.half_width for each in told.values())
    return plain / SWEEPS, at_once / SWEEPS


def test_of_eight_equal_settings_with_three_seeds_few_sweeps_show_a_difference() -> None:
    plain, at_once = shares(1.0, settings=8, seeds=3)
    error = 3 * math.sqrt(0.05 * 0.95 / SWEEPS)
    assert plain == pytest.approx(0.41, abs=0.04)
    assert 0.005 < at_once <= 0.05 + error


def test_settings_of_unequal_spread_cost_little_of_what_the_interval_says() -> None:
    plain, at_once = shares([5.0] + [1.0] * 7, settings=8, seeds=3)
    assert plain > 0.25
    assert at_once < 0.11


def test_the_pooled_half_width_is_tukeys_of_row_and_seed() -> None:
    table = np.random.default_rng(0).normal(-150, 1, (6, 4))
    left = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    degrees = 5 * 3
    pooled = stats.studentized_range.ppf(0.95, 6, degrees)
    pooled *= math.sqrt((left**2).sum() / degrees / 4)
    values = {row: dict(enumerate(table[row].tolist())) for row in range(6)}
    for row, found in differences_from(0, values).items():
        test = stats.ttest_rel(table[row], table[0])
        own = test.confidence_interval(0.95)
        assert found.mean == pytest.approx((table[row] - table[0]).mean())
        assert found.half_width == pytest.approx(max(pooled, (own.high - own.low) / 2))
    [*_, same] = differences_from(0, values, chosen_from=6).values()
    [*_, wider] = differences_from(0, values, chosen_from=20).values()
    assert same == found
    assert wider.half_width > found.half_width


def test_a_seed_that_a_setting_lacks_counts_for_those_that_have_it() -> None:
    rng = np.random.default_rng(1)
    values = {row: {seed: float(rng.normal()) for seed in range(5)} for row in "abc"}
    del values["b"][0], values["c"][4]
    values["d"] = {9: 0.0}
    found = differences_from("a", values)
    assert {row: each.count for row, each in found.items()} == {"b": 4, "c": 4}
    common = [values["b"][seed] - values["a"][seed] for seed in (1, 2, 3, 4)]
    assert found["b"].mean == pytest.approx(np.mean(common))
    assert math.isfinite(found["b"].half_width)


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_common_seeds_have_no_interval(seeds: int) -> None:
    values = {row: {seed: row * 1.0 + seed for seed in range(seeds)} for row in range(8)}
    assert all(math.isnan(each.half_width) for each in differences_from(0, values).values())


def test_of_two_among_many_images_it_is_the_normal_interval() -> None:
    assert critical(2) == pytest.approx(1.96, abs=1e-3)


def test_one_seed_is_told_by_its_images_and_marked() -> None:
    assert str(interval([-150.0], stderr=0.5)) == "-150.00 ± 0.98 †"
    assert str(interval([-150.0, -151.0], stderr=0.5)) == "-150.50 ‡"
    assert interval([-150.0], stderr=0.5).text(4) == "-150.0000 ± 0.9800 †"
