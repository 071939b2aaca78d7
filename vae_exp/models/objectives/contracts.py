"""What an objective must give, and what it may be told of its run."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from vae_exp.models.vae import VAE, Terms

Step = int | Tensor  # 0, 1, .. over a run; a tensor [] in a compiled step


@runtime_checkable
class Objective(Protocol):
    """What training maximises, per image, with its true name: ``elbo``, ``iwae_50``.

    One that takes gradients itself, or draws numbers of its own, says ``compiles = False``, as
    torch.compile cannot. One of which
    the encoder gets no gradient says ``trains_encoder = False``: a run then freezes the encoder.
    The name ``elbo`` is for log_likelihood − kl alone. Another bound has a name of its own, which
    tells every setting that makes it another bound.
    """

    name: str
    estimator: str  # what it is, in words
    samples: int  # of z an image, for which it is given noise

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B] at a step of the run.

        Validation asks for the run's last step, so that epochs can be compared.
        """
        ...


@runtime_checkable
class Beginning(Protocol):
    """An objective that asks to be told of its run before the first step."""

    def begin(self, model: VAE, steps_per_epoch: int) -> None:
        """Take in the length of an epoch; raises UserError if it is not for this model."""
        ...


def begin(objective: Objective, model: VAE, steps_per_epoch: int) -> None:
    """Tell an objective of its run, if it asks for it; raises UserError if it refuses the model."""
    if isinstance(objective, Beginning):
        objective.begin(model, steps_per_epoch)
