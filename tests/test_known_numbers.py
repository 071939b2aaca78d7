"""Every estimator on one small model with given weights: the numbers do not move."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from vae_exp.evaluation import ais, completion, diagnostics
from vae_exp.evaluation.completion import Masked
from vae_exp.evaluation.estimates import elbo_terms
from vae_exp.evaluation.exact import evidence
from vae_exp.evaluation.gap import inference_gap
from vae_exp.evaluation.importance import importance
from vae_exp.evaluation.simulation import simulate
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.probability.streams import generator

KNOWN = json.loads((Path(__file__).parent / "known_numbers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def double_precision() -> Iterator[None]:
    """Noise and weights in float64, so that rounding does not hide a change."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def numbers(double_precision: None) -> dict[str, Any]:
    """Every number that known_numbers.json holds, computed again."""
    model = VAE(2, Encoder((7,)), Decoder((7,)), shape=(3, 4))
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            k = torch.arange(parameter.numel(), dtype=torch.float64)
            values = torch.sin(1.7 * k + i) * 2.0 / math.sqrt(parameter.shape[-1])
            parameter.copy_(values.reshape(parameter.shape))
        model.encoder.parameters_of_q.bias[2:] -= 1.0
    k = torch.arange(5 * 12, dtype=torch.float64).reshape(5, 12)
    x = (torch.sin(k * k + 0.3) > 0).double()
    found: dict[str, Any] = {}
    terms = elbo_terms(model, x, samples=3, seed=4)
    found |= {"elbo": terms.bound, "log_likelihood": terms.log_likelihood, "kl": terms.kl}
    weights = importance(model, x, (1, 10, 100), seed=1)
    found |= {f"iwae_{samples}": bound for samples, bound in weights.bounds.items()}
    found["pareto_k"] = weights.pareto_k
    exact = evidence(model, x)
    found |= {"exact": exact.log_p_x, "entropy": exact.entropy, "posterior_mean": exact.mean}
    few = {"temperatures": 10, "chains": 4, "seed": 2}
    found["ais"] = ais.evidence(model, x, **few).log_p_x
    lower, upper = ais.sandwich(model, 3, **few)
    found |= {"sandwich_lower": lower.log_p_x, "sandwich_upper": upper.log_p_x}
    gap = inference_gap(model, x, steps=20, rounds=0, seed=3)
    found |= {"gap_encoder": gap.elbo_encoder, "gap_diagonal": gap.elbo_diagonal}
    found["gap_full"] = gap.elbo_full
    masked = Masked(model, x, torch.arange(12) < 6)
    q = completion.infer(masked, restarts=3, steps=20, samples=4, generator=generator(0, "c"))
    for name, score in completion.scores(masked, q, samples=100, seed=5).items():
        found[f"completion {name}"] = score.log_p_hidden
        found[f"completion kl {name}"] = score.kl
    z, simulated = simulate(model, 50, generator(7, "simulate"))
    encoded = diagnostics.encode(model, simulated)
    calibrated = diagnostics.calibration(encoded, z)
    found |= {"calibration_mass": calibrated.mass[:10], "ranks": calibrated.ranks[:5]}
    found["aggregate_kl"] = diagnostics.aggregate(encoded, model.prior, 0).kl[:10]
    return {name: value.tolist() for name, value in found.items()}


@pytest.mark.parametrize("name", KNOWN)
def test_the_number_is_as_it_was(name: str, numbers: dict[str, Any]) -> None:
    known = torch.tensor(
        [math.nan if value is None else value for value in KNOWN[name]]
        if not isinstance(KNOWN[name][0], list)
        else KNOWN[name]
    )
    torch.testing.assert_close(
        torch.tensor(numbers[name]), known, rtol=0, atol=1e-6, equal_nan=True
    )
