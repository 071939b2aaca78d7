"""The evidence of an answer could have come out otherwise."""

import io

import pytest
import torch
from rich.console import Console
from torch import Tensor

from vae_exp.analysis.questions import (
    Questions,
    bottom_given_z,
    gaussian_log_densities,
    negative_density,
)
from vae_exp.data import Splits, load_splits
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE


class Coupled(VAE):
    """Neighbouring bottom pixels attract each other by so many nats, whatever z."""

    attraction = 0.01

    def log_likelihood(self, x: Tensor, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """Up to a constant, which no odds see."""
        bottom = x[..., 392:]
        pairs = (bottom[..., 1:] * bottom[..., :-1]).sum(-1)
        return super().log_likelihood(x, z, pixels) + self.attraction * pairs


def tiny(kind: type[VAE]) -> VAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(2, Encoder((16,)), Decoder((16,)))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_splits(source="digits", train_size=60, validation_size=10, test_size=20)


def test_pixels_that_attract_each_other_do_not_factorise(splits: Splits) -> None:
    x = splits.test.images[:3]
    answer = bottom_given_z(tiny(VAE), x, 0)
    assert answer.true
    assert answer.numbers["largest_change_of_log_odds"] < 1e-9
    coupled = bottom_given_z(tiny(Coupled), x, 0)
    assert not coupled.true
    assert coupled.numbers["largest_change_of_log_odds"] == pytest.approx(0.02)


def test_the_smallest_density_is_told_by_its_logarithm() -> None:
    answer = negative_density()
    assert not answer.true
    assert answer.numbers["smallest_log_density"] == gaussian_log_densities().min().item()
    assert answer.numbers["smallest_log_density"] < -4000
    assert "10^−21" in answer.evidence


@pytest.mark.slow
def test_the_brief_table_has_a_line_a_letter_in_eighty_columns(splits: Splits) -> None:
    found = Questions(images=2)(tiny(VAE), splits, 0)
    console = Console(width=80, record=True, file=io.StringIO())
    assert found.brief is not None
    console.print(found.brief)
    lines = [line.split() for line in console.export_text().splitlines() if line.strip()]
    answers = {words[0]: words for words in lines if words[0] in "abcde" and len(words[0]) == 1}
    assert list(answers) == list("abcde")
    told = [("true" in words) for words in answers.values()]
    assert told == [True, False, False, False, True]
    assert len(lines) <= 8
