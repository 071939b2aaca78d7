"""Grey pixels on K levels, each with a mass of its own."""

from torch import Tensor

from vae_exp.models.likelihoods.on_levels import Levels, LevelsLikelihood, check_levels
from vae_exp.probability.levels import CategoricalLevels


class CategoricalLikelihood(LevelsLikelihood):
    """p(x | z) = Π_i softmax(logits_i)[level of x_i]; the decoder says K logits a pixel.

    levels=16 sees 4 bits of each pixel, levels=256 all 8. Masses of different K are of different
    things and are not to be compared.
    """

    def __init__(self, levels: Levels = 16):
        super().__init__()
        check_levels(levels)
        self.levels = self.outputs = levels

    def forward(self, parameters: Tensor) -> CategoricalLevels:
        """Logits [.., K · D], level by level -> p(x | z)."""
        return CategoricalLevels(parameters.unflatten(-1, (self.levels, -1)))
