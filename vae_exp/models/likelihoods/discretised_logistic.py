"""Grey pixels on K levels by a logistic density that is integrated over each."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from vae_exp.models.contracts import Likelihood
from vae_exp.models.likelihoods.on_levels import Levels, LevelsLikelihood, check_levels
from vae_exp.probability.levels import DiscretisedLogistic

START = math.log(0.25)  # of the log scale


class DiscretisedLogisticLikelihood(LevelsLikelihood):
    """p(x | z) = Π_i F(x_i + h) − F(x_i − h), F logistic; the edge levels take the tails.

    Salimans et al. 2017, arXiv:1701.05517, with one component. ``scale`` "shared": the
    decoder says a location for each pixel, and one scale of all pixels is learnt; "pixel": it says
    a log scale for each pixel, too.
    """

    def __init__(self, levels: Levels = 256, scale: Literal["pixel", "shared"] = "shared"):
        super().__init__()
        check_levels(levels)
        self.levels = levels
        self.outputs = 2 if scale == "pixel" else 1
        self.log_scale = nn.Parameter(torch.tensor(START)) if scale == "shared" else None

    def forward(self, parameters: Tensor) -> DiscretisedLogistic:
        """Locations [.., D], followed by log scales [.., D] if each pixel has one -> p(x | z).

        An output of 0 is a location of ½ and a scale of ¼.
        """
        location, *log_scale = parameters.chunk(self.outputs, -1)
        if self.log_scale is None:
            scales = START + log_scale[0]
        else:
            scales = self.log_scale.expand_as(location)
        return DiscretisedLogistic(0.5 + location, scales, self.levels)

    def table(self, parameters: Tensor, x: Tensor) -> Tensor:
        """[G, outputs · D], x [B, D] -> [B, G]; by the masses of all levels if that is less."""
        few = len(x) < self.levels
        return Likelihood.table(self, parameters, x) if few else super().table(parameters, x)
