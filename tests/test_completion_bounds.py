"""A mean of weights that few z carry is shown as a bound, without an error."""

import io
import json
import math
from dataclasses import replace

import pytest
import torch
from rich.console import Console
from test_completion import ALL_IMAGES, brute_force, fitted, log_p_whole, toy

from vae_exp.analysis.completion_scores import cell, score_numbers, score_table
from vae_exp.evaluation.completion import FULL, IMPORTANCE, TWO_PROPOSALS, Score, scores
from vae_exp.inference.importance import doubtful, weigh
from vae_exp.probability.gaussians import FullGaussian


def astray(latent_dim: int, away: float = 3.0) -> dict[str, Score]:
    """Scores by a proposal that sits beside the posterior, tight and sure."""
    masked = toy(latent_dim)
    found = fitted(masked)
    narrow = FullGaussian(found.full.mean + away, found.full.log_std - 3, found.full.lower)
    return scores(masked, replace(found, full=narrow), samples=1000)


def one(score: Score, image: int) -> Score:
    return Score(*(part[image : image + 1] for part in score))


def printed(scored: dict[str, Score]) -> dict[str, str]:
    console = Console(width=100, file=io.StringIO())
    console.print(score_table(scored, "an image", 1000))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    return {name: line for name in scored for line in lines if name in line}


def test_a_doubtful_estimate_is_off_by_more_than_the_error_it_used_to_have():
    score, truth = astray(2)[IMPORTANCE], brute_force(toy(2))
    doubtful = score.higher | score.lower
    assert doubtful.float().mean() > 0.5
    assert score.error[doubtful].isinf().all()
    assert score.error[~doubtful].isfinite().all()
    assert (score.log_p_hidden - truth)[doubtful].abs().max() > 1.5  # √(1/ESS − 1/S) is below 1


def test_a_doubtful_mean_of_weights_is_a_lower_bound():
    masked = toy(2)
    found = fitted(masked).full
    q = FullGaussian(found.mean + 3.0, found.log_std - 3, found.lower)
    weighed = weigh(masked.model.log_joint_of_each(ALL_IMAGES), q, (1000,))
    bound = doubtful(weighed.pareto_k)
    assert bound.sum() >= 8
    assert (weighed.bounds[1000] < log_p_whole(masked))[bound].all()


@pytest.mark.parametrize(
    ("higher", "lower", "sign", "bound"),
    [
        (True, False, "≥", "lower"),
        (False, True, "≤", "upper"),
        (True, True, "?", "neither"),
        (False, False, "", None),
    ],
)
def test_what_is_shown_of_a_bound_is_its_side_and_no_error(higher, lower, sign, bound):
    value, error, flags = torch.tensor([-193.51]), torch.tensor([0.70]), torch.tensor
    shown = cell(value, error, flags([higher]), flags([lower]))
    assert shown == (f"{sign} −193.51" if sign else "−193.51 ± 0.70")
    nothing = torch.full((1,), math.nan)
    numbers = score_numbers(
        Score(value, error, nothing, nothing, nothing, flags([higher]), flags([lower]))
    )
    assert numbers["bound"] == bound
    assert ("error" in numbers) == (bound is None)
    json.dumps(numbers, allow_nan=False)


def test_a_mean_over_images_is_a_bound_if_that_of_one_is():
    values, error = torch.tensor([-100.0, -120.0]), torch.tensor([0.1, math.inf])
    shown = cell(values, error, torch.tensor([False, True]), torch.tensor([False, False]))
    assert shown == "≥ −110.00"


def test_the_table_and_the_numbers_of_a_doubtful_proposal_have_no_error():
    scored = astray(4)
    visible_in_doubt = (scored[IMPORTANCE].lower).nonzero().flatten()
    image = {name: one(score, int(visible_in_doubt[0])) for name, score in scored.items()}
    lines = printed(image)
    assert "±" not in lines[TWO_PROPOSALS]
    assert "≤" in lines[TWO_PROPOSALS] or "?" in lines[TWO_PROPOSALS]
    assert "±" not in lines[IMPORTANCE]
    assert "≥" in lines[FULL]  # its KL
    numbers = {name: score_numbers(score) for name, score in image.items()}
    assert numbers[TWO_PROPOSALS]["bound"] in ("upper", "neither")
    assert numbers[FULL]["kl_bound"] == "lower"
    assert "kl_error" not in numbers[FULL]
