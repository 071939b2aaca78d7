"""What likelihoods on grey levels have in common."""

from abc import abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.models.contracts import Likelihood
from vae_exp.models.likelihoods.values import check_within
from vae_exp.probability.levels import OnLevels, level_of, level_table

Levels = Literal[2, 4, 8, 16, 32, 64, 128, 256]
BLOCK = 1 << 24  # masses at a time


class LevelsLikelihood(Likelihood):
    """A mass on K grey levels; a pixel of grey k / 255 has the level ⌊k K / 256⌋."""

    discrete = True
    levels: int

    @abstractmethod
    def forward(self, parameters: Tensor) -> OnLevels:
        """The decoder's numbers [.., outputs · D] -> p(x | z)."""

    @property
    def scores(self) -> str:
        """A mass on so many levels."""
        return f"mass on {self.levels} levels"

    def check_values(self, x: Tensor) -> None:
        """Raise UserError if a pixel is outside [0, 1]."""
        check_within(x)

    def ceiling(self, parameters: Tensor) -> Tensor:
        """The log mass of the likeliest image: [G, ..] -> [G]."""
        highest: Tensor = self(parameters).highest().sum(-1)
        return highest

    def table(self, parameters: Tensor, x: Tensor) -> Tensor:
        """[G, outputs · D], x [B, D] -> [B, G]; the masses of all levels are made once."""
        level = level_of(x, self.levels)
        rows = max(1, BLOCK // (self.levels * x.shape[-1]))
        parts = [level_table(self(part).log_mass(), level) for part in parameters.split(rows)]
        return torch.cat(parts, 1)


def check_levels(levels: int) -> None:
    """Raise UserError if 256 grey levels do not fall into so many equal parts."""
    if levels not in get_args(Levels):
        allowed = ", ".join(map(str, get_args(Levels)))
        raise UserError(f"likelihood.levels must be one of {allowed}, got {levels!r}")
