"""The mean over all images of what is known for the first of them only."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vae_exp.evaluation.estimates import Estimate, estimate

FEWEST = 10  # images a slope


class Regression:
    """Tells a mean over N images of values known for the first n, from others known of all.

    ȳ_n + β (x̄_N − x̄_n), with β by least squares on the n, and the standard error
    √(s²_e / n + s²_{βx} / N), e = y − β x: double sampling (Cochran 1977, Sampling
    Techniques, 12.6). It takes the first images to be like the others.
    """

    def __init__(self, values: Tensor, known: Sequence[Tensor]):
        """values [n]; known: tensors [N] that are not to be told, such as log p(x) and the ELBO."""
        self.values = values.double().cpu()
        count = len(values)
        useful = count >= FEWEST * (len(known) + 1)
        self.known = torch.stack([k.double().cpu() for k in known], 1) if known and useful else None
        if self.known is None:
            return
        centred = self.known[:count] - self.known[:count].mean(0)
        self.slope = torch.linalg.lstsq(centred, self.values[:, None]).solution[:, 0]

    def mean(
        self,
        estimator: str,
        rows: Tensor | None = None,
        *,
        samples: int | None = None,
        seed: int | None = None,
    ) -> Estimate:
        """Of all images, or of those that are ``rows``, bool [N]; of what is known if none help."""
        count = len(self.values)
        own = slice(None) if rows is None else rows[:count].cpu()
        values = self.values[own]
        if self.known is None or len(self.known) == count or len(values) < 2:
            return estimate(values, estimator, samples=samples, seed=seed)
        told = self.known @ self.slope
        everywhere = told if rows is None else told[rows.cpu()]
        rest = values - told[:count][own]
        slopes = len(self.slope) if rows is None else 0
        left = rest.var().item() * (len(rest) - 1) / (len(rest) - 1 - slopes)
        explained = everywhere.var().item()
        return Estimate(
            (rest.mean() + everywhere.mean()).item(),
            math.sqrt(left / len(rest) + explained / len(everywhere)),
            len(rest),
            estimator,
            samples,
            seed,
            len(everywhere),
        )
