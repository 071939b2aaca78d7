"""An objective through torch.compile."""

import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.models.networks.layers import RandomLayer
from vae_exp.models.objectives.contracts import Objective, Step, begin
from vae_exp.models.vae import VAE, Terms


class Compiled:
    """Another objective through torch.compile; on a GPU each step is then one CUDA graph.

    The number of images in a batch is fixed, so a last batch that is smaller is compiled too. A
    graph overwrites its results at its next run: what is returned is a copy. The step is a tensor
    on the device, as a number would be compiled anew for each of its values. Layers that draw
    random numbers stay outside the graphs. Raises UserError for an objective that says that
    ``compiles`` is False.
    """

    def __init__(self, objective: Objective):
        if not getattr(objective, "compiles", True):
            raise UserError(
                f"trainer.compile=true cannot be had with {objective.name}, whose steps are no "
                "graph: leave it out"
            )
        self.samples = objective.samples
        self.name = objective.name
        self.estimator = objective.estimator
        self._objective = objective
        self._compiled = torch.compile(objective, mode="reduce-overhead", dynamic=False)

    def begin(self, model: VAE, steps_per_epoch: int) -> None:
        """Tell the other objective; keep the compiler away from random layers."""
        begin(self._objective, model, steps_per_epoch)
        for layer in model.modules():
            if isinstance(layer, RandomLayer) and layer.rate:
                layer.forward = torch.compiler.disable(layer.forward)  # type: ignore[method-assign]

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]."""
        torch.compiler.cudagraph_mark_step_begin()
        counted = torch.full((), float(step), device=x.device)
        terms = self._compiled(model, x, noise, counted)
        return Terms(terms.bound.clone(), terms.log_likelihood.clone(), terms.kl.clone())
