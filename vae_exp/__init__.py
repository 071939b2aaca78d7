"""Variational autoencoders on binarised MNIST, where every number is exact or carries an error bar.

Axes, used as trailing comments throughout; batch first, samples before the batch:

====  =====================================================================
S     samples of z for one image
B     images
Z     latent dimensions
N     numbers of noise that one sample is made from
D     pixels of an image, row-major; 784 = 28 x 28 for MNIST
G     points of a grid over z
====  =====================================================================

``log_*``, ``elbo`` and ``iwae`` are in nats per image and are maximised; constants are kept.
``loss`` is the one thing that is minimised. Scale parameters are ``log_std`` everywhere.

For a notebook::

    import vae_exp

    run = vae_exp.load("latest")
    x = run.images("test")  # [N, D]
    run.evidence(x[:100]).log_p_x  # [100] nats
    run.look("scatter")  # figures and tables

docs/architecture.md is the map of the packages.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_exp.data import load_binarized_mnist, load_splits
    from vae_exp.evaluation.estimates import elbo_terms, estimate
    from vae_exp.evaluation.evidence import evidence
    from vae_exp.evaluation.gap import inference_gap
    from vae_exp.evaluation.importance import iwae
    from vae_exp.models.networks import Decoder, Encoder
    from vae_exp.models.objectives import ELBO, IWAE
    from vae_exp.models.vae import VAE, top_half
    from vae_exp.runs.asking import look
    from vae_exp.runs.loading import Run, load
    from vae_exp.training.fitting import fit
    from vae_exp.training.optimizers import Adam, AdamOneCycle

__all__ = [
    "ELBO",
    "IWAE",
    "VAE",
    "Adam",
    "AdamOneCycle",
    "Decoder",
    "Encoder",
    "Run",
    "elbo_terms",
    "estimate",
    "evidence",
    "fit",
    "inference_gap",
    "iwae",
    "load",
    "load_binarized_mnist",
    "load_splits",
    "look",
    "top_half",
]

_HOMES = {
    "data": ["load_binarized_mnist", "load_splits"],
    "evaluation.estimates": ["elbo_terms", "estimate"],
    "evaluation.evidence": ["evidence"],
    "evaluation.gap": ["inference_gap"],
    "evaluation.importance": ["iwae"],
    "training.fitting": ["fit"],
    "models.networks": ["Decoder", "Encoder"],
    "models.objectives": ["ELBO", "IWAE"],
    "models.vae": ["VAE", "top_half"],
    "training.optimizers": ["Adam", "AdamOneCycle"],
    "runs.asking": ["look"],
    "runs.loading": ["Run", "load"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import vae_exp`` is quick."""
    if name == "__version__":
        from importlib import metadata  # 50 ms

        return metadata.version("vae-exp")
    if name in _HOME:
        return getattr(import_module(f"vae_exp.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    packages = [name for name, value in globals().items() if isinstance(value, ModuleType)]
    return [*__all__, *packages, "__version__"]
