"""A model that is evaluated and not trained."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """While entered, no weight asks for a gradient; then each does as before, also after an error.

    Gradients with respect to z then cost nothing for the weights.
    """
    before = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, required in zip(model.parameters(), before, strict=True):
            parameter.requires_grad_(required)
