"""What the model's bounds take as images, and how they refuse the rest."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO, IWAE
from vae_exp.models.vae import VAE


def small(dtype: torch.dtype = torch.float32) -> VAE:
    torch.manual_seed(0)
    return VAE(2, Encoder((7,)), Decoder((7,))).to(dtype)


def binary(count: int = 5) -> Tensor:
    return (torch.rand(count, 784, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def noise(samples: int = 3, count: int = 5) -> Tensor:
    return torch.randn(samples, count, 2, generator=torch.Generator().manual_seed(2))


BOUNDS: dict[str, Callable[[VAE, Tensor], Tensor]] = {
    "elbo": lambda model, x: model.elbo(x, noise=noise()),
    "loss": lambda model, x: model.loss(x, noise=noise()),
    "elbo_terms": lambda model, x: model.elbo_terms(x, noise()).bound,
    "log_weights": lambda model, x: model.log_weights(x, noise()),
    "ELBO": lambda model, x: ELBO(3)(model, x, noise()).bound,
    "IWAE": lambda model, x: IWAE(3)(model, x, noise()).bound,
}
bounds = pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)


@bounds
@pytest.mark.parametrize(
    "as_given",
    [
        lambda x: x.reshape(-1, 28, 28),
        lambda x: x.to(torch.uint8),
        lambda x: x.bool(),
        lambda x: x.long(),
        lambda x: x.double(),
        lambda x: x.bool().reshape(-1, 28, 28),
    ],
)
def test_a_batch_is_the_same_in_every_sensible_form(
    bound: Callable[[VAE, Tensor], Tensor], as_given: Callable[[Tensor], Tensor]
) -> None:
    model, x = small(), binary()
    assert torch.equal(bound(model, as_given(x)), bound(model, x))


@bounds
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(784), r"got \[784\]: give x.reshape\(1, 784\)"),
        (torch.zeros(28, 28), r"got \[28, 28\]: give x.reshape\(1, 784\)"),
        (torch.zeros(2, 2, 784), r"got \[2, 2, 784\]: give x.reshape\(-1, 784\)"),
        (torch.zeros(784, 5), r"got \[784, 5\]: give x.T"),
        (torch.zeros(5, 1, 28, 28), r"got \[5, 1, 28, 28\]: give x.reshape\(-1, 784\)"),
        (torch.zeros(5, 392, 2), r"batch \[B, 784\]"),
        (torch.zeros(5, 100), r"batch \[B, 784\], got \[5, 100\]$"),
        (torch.zeros(0, 784), r"batch \[B, 784\], got \[0, 784\]$"),
        (torch.zeros(()), r"batch \[B, 784\], got \[\]$"),
        (torch.zeros(5, 784, dtype=torch.complex64), "tensor of 0 and 1, got torch.complex64"),
        (np.zeros((5, 784)), "tensor of 0 and 1, got float64"),
        ([[0.0] * 784], "tensor of 0 and 1, got <class 'list'>"),
    ],
)
def test_what_is_no_batch_of_images_is_refused_in_a_line(
    bound: Callable[[VAE, Tensor], Tensor], x: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        bound(small(), x)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["elbo", "loss"])
@pytest.mark.parametrize("wrong", [0.5, -1.0, 255.0, torch.nan, torch.inf])
def test_an_elbo_of_images_that_are_not_binary_is_refused(name: str, wrong: float) -> None:
    x = binary()
    x[3, 100] = wrong
    with pytest.raises(UserError, match="binarise them"):
        BOUNDS[name](small(), x)


def test_noise_of_another_shape_is_refused() -> None:
    model, x = small(), binary()
    with pytest.raises(UserError, match=r"noise must be \[S, 5, 2\], got \[5, 2\]"):
        model.elbo_terms(x, noise()[0])
    with pytest.raises(UserError, match=r"noise must be \[S, 5, 2\], got \[3, 1, 2\]"):
        model.log_weights(x, noise(count=1))
    with pytest.raises(UserError, match=r"noise must be \[S, 5, 2\], got \[1, 10, 2\]"):
        model.elbo(x, noise=noise(1, 10)[0])


def test_a_model_in_double_precision_takes_single_images() -> None:
    model, x = small(torch.float64), binary()
    epsilon = noise().double()
    assert torch.equal(model.elbo(x, noise=epsilon), model.elbo(x.double(), noise=epsilon))
    assert model.elbo(x.bool()).dtype == torch.float64
