"""task=evidence: its numbers are those of the model, and what they are the log of is said."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from vae_exp.analysis.base import Findings
from vae_exp.analysis.evaluate import Evaluate, Part
from vae_exp.analysis.evidence import LogEvidence
from vae_exp.data import Splits, from_arrays, load_splits
from vae_exp.errors import UserError
from vae_exp.evaluation import ais
from vae_exp.evaluation.estimates import elbo_terms, share_of_worst
from vae_exp.evaluation.evidence import evidence as evidence_of_any
from vae_exp.evaluation.exact import evidence
from vae_exp.models.likelihoods import GaussianLikelihood
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 4, 3), dtype=np.uint8)
SIZES = {"train_size": 10, "validation_size": 4, "test_size": 6}


def grey() -> tuple[VAE, Splits]:
    splits = load_splits(source=from_arrays(PIXELS), binarization="none", **SIZES)
    torch.manual_seed(0)
    parts = {"likelihood": GaussianLikelihood(), "shape": splits.shape}
    return VAE(2, Encoder((5,)), Decoder((5,)), **parts).eval(), splits


def binary(latent_dim: int) -> tuple[VAE, Splits]:
    splits = load_splits(source=from_arrays(PIXELS), **SIZES)
    torch.manual_seed(0)
    return VAE(latent_dim, Encoder((5,)), Decoder((5,)), shape=splits.shape).eval(), splits


def printed(found: Findings) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(found.tables[0])
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(text.split())


def test_its_numbers_are_those_of_the_model_on_the_first_test_images() -> None:
    model, splits = binary(2)
    found = LogEvidence(images=4)(model, splits, 3).numbers
    x = splits.test.images[:4]
    log_p_x = evidence(model, x).log_p_x
    elbo = elbo_terms(model, x, samples=16, seed=3).bound.double()
    assert found["log_p_x"]["images"] == 4
    assert found["log_p_x"]["mean"] == pytest.approx(log_p_x.mean().item())
    assert found["elbo"]["mean"] == pytest.approx(elbo.mean().item())
    assert found["gap"]["mean"] == pytest.approx((log_p_x - elbo).mean().item())
    assert found["gap"]["stderr"] == pytest.approx((log_p_x - elbo).std().item() / 2)
    assert found["gap"]["mean"] > 0
    assert found["not_converged"] == 0
    assert found["gap_in_the_worst"] == {}  # 5 % of 4 images are none


def test_the_worst_images_carry_their_share_of_the_gap() -> None:
    gap = torch.tensor([1.0] * 98 + [51.0, 51.0])
    assert share_of_worst(gap, 1) == pytest.approx(51 / 200)
    assert share_of_worst(gap, 2) == pytest.approx(102 / 200)
    assert share_of_worst(gap, 100) == pytest.approx(1)


@pytest.mark.parametrize(("latent_dim", "said"), [(2, False), (4, True)])
def test_it_says_if_log_p_x_is_only_a_bound(latent_dim: int, said: bool) -> None:
    model, splits = binary(latent_dim)
    text = printed(LogEvidence(images=3)(model, splits, 0))
    assert ("a bound from below" in text) is said


def test_the_error_of_ais_is_that_of_the_mean_weight_of_its_chains() -> None:
    model, splits = binary(4)
    x = splits.test.images[:3]
    found = evidence_of_any(model, x, seed=2)
    weights = ais.evidence(model, x, seed=2).log_weights.double().exp()  # [C, 3]
    expected = weights.std(0) / len(weights) ** 0.5 / weights.mean(0)
    torch.testing.assert_close(found.error.double(), expected, rtol=1e-4, atol=0)
    assert (found.error > 0).all()


def test_a_density_is_called_one() -> None:
    assert "that of a density" in printed(LogEvidence(images=3)(*grey(), 0))
    assert "density" not in printed(LogEvidence(images=3)(*binary(2), 0))


def test_the_worst_amortised_images_are_the_worst_of_those_that_were_fitted() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 3), dtype=np.uint8)
    sizes = {"train_size": 10, "validation_size": 4, "test_size": 40}
    splits = load_splits(source=from_arrays(pixels), **sizes)
    parts: list[Part] = ["elbo", "exact", "gap"]
    figures = Evaluate(parts=parts, gap_images=25)(binary(2)[0], splits, 0).figures
    assert "40 test images, parts by the first 25" in figures["gap"].get_supxlabel()
    assert "first 25 test images" in figures["worst_amortised"].get_supxlabel()
    assert "40 test images" not in figures["worst_amortised"].get_supxlabel()


@pytest.mark.parametrize("parts", [["gap", "gap"], ["nope"], []])
def test_parts_of_an_evaluation_are_known_and_named_once(parts: list[str]) -> None:
    with pytest.raises(UserError, match=r"^task\.parts must"):
        Evaluate(parts=parts)  # type: ignore[arg-type]
