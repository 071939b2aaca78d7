"""What training maximises: a bound on log p(x), per image and with its terms.

`contracts` what each must give · `elbo` the ELBO, its KL weighed or floored · `weighted` bounds of
several weights · `semi_amortised` the ELBO after steps of SVI · `dreams` the ELBO, its encoder
taught by the model's own images too · `marginal` log p(x) on a lattice · `compiled` any
through torch.compile.
"""

from vae_exp.models.objectives.compiled import Compiled
from vae_exp.models.objectives.contracts import Objective, Step, begin
from vae_exp.models.objectives.dreams import Dreams
from vae_exp.models.objectives.elbo import ELBO, BetaELBO, FreeBits
from vae_exp.models.objectives.marginal import Marginal
from vae_exp.models.objectives.semi_amortised import SemiAmortised
from vae_exp.models.objectives.weighted import IWAE, DReG, Renyi

__all__ = [
    "ELBO",
    "IWAE",
    "BetaELBO",
    "Compiled",
    "DReG",
    "Dreams",
    "FreeBits",
    "Marginal",
    "Objective",
    "Renyi",
    "SemiAmortised",
    "Step",
    "begin",
]
