"""The model alive inside a page: what the page's script is given, and the script itself."""

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vae_exp.data.splits import Split
from vae_exp.figures.latent import UNLABELLED, class_colors
from vae_exp.models.likelihoods import BernoulliLikelihood
from vae_exp.models.networks import Decoder, Encoder, ResidualDecoder, ResidualEncoder
from vae_exp.models.networks.layers import ACTIVATIONS, RandomLayer
from vae_exp.models.networks.mlp import ResidualBlock
from vae_exp.models.posteriors import DiagonalGaussianFamily, FullGaussianFamily
from vae_exp.models.priors import StandardNormal
from vae_exp.models.vae import VAE
from vae_exp.probability.streams import generator
from vae_exp.runs.loading import Run

FOLDER = Path(__file__).with_suffix("")
# In the order in which they are joined: constants use only what stands before them.
MODULES = (
    "encoding",
    "densities",
    "network",
    "quadrature",
    "lattice",
    "posterior",
    "fitting",
    "inference",
    "worker",
    "dom",
    "words",
    "pictures",
    "drawing",
    "contours",
    "canvas",
    "painting",
    "plane",
    "export",
    "state",
    "panels",
    "numbers",
    "layout",
    "stage",
    "explorer",
)
IMAGES = 10_000  # at most, and no more than IMAGE_BYTES of them
IMAGE_BYTES = 1 << 20
NOISE = 64  # samples of q for an ELBO, half of them the others' negatives
FAMILIES = {DiagonalGaussianFamily: "diagonal", FullGaussianFamily: "full"}
NETWORKS = {Encoder, Decoder, ResidualEncoder, ResidualDecoder}


def why_not(model: VAE) -> str | None:
    """Why the page cannot run this model, or None: the script knows only some parts."""
    if type(model.likelihood_family) is not BernoulliLikelihood:
        return "the explorer knows Bernoulli pixels alone"
    if type(model.prior_family) is not StandardNormal:
        return "the explorer knows the standard normal prior alone"
    if type(model.posterior_family) not in FAMILIES:
        return "the explorer knows Gaussian q alone"
    if not {type(model.encoder), type(model.decoder)} <= NETWORKS:
        return "the explorer knows fully connected networks alone"
    if len(model.shape) != 2:
        return "the explorer draws images of one colour alone"
    return None


def explorer(run: Run) -> dict[str, Any] | None:
    """What ``mountExplorer`` is given, ready for JSON; None if there is a reason in ``why_not``.

    Weights are float32 and images a bit a pixel, in base64. Raises UserError if the run's test
    images are not at hand.
    """
    model = run.model
    if why_not(model) is not None:
        return None
    test = run.splits.named("test")
    bytes_an_image = -(-model.pixels // 8)
    count = min(len(test), IMAGES, max(1, IMAGE_BYTES // bytes_an_image))
    x = test.some(slice(0, count)).to(model.device)
    return {**of_model(model, x), "origin": test.origin, **_classes(run, test, count)}


@torch.no_grad()
def of_model(model: VAE, x: Tensor) -> dict[str, Any]:
    """The part of it that is about a model and its images x [N, D], without their classes."""
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder, Encoder)
    assert isinstance(decoder, Decoder)
    return {
        "height": model.shape[0],
        "width": model.shape[1],
        "latent_dim": model.latent_dim,
        "family": FAMILIES[type(model.posterior_family)],
        "encoder": _steps(nn.Sequential(encoder.features, encoder.parameters_of_q)),
        "decoder": _steps(nn.Sequential(decoder.features, decoder.parameters_of_x)),
        "images": _packed(x),
        "count": len(x),
        "means": _floats(torch.cat([_mean(model, part) for part in x.split(1000)])),
        "noise": _floats(_noise(model.latent_dim)),
    }


def script() -> str:
    """The modules as one classic script, which defines ``mountExplorer(element, payload)``.

    They are the body of one function, whose own text is what the worker is made of.
    """
    body = "\n".join(_module(name) for name in MODULES)
    names = ", ".join(re.findall(r"^(?:async )?(?:function|class|const) (\w+)", body, re.M))
    return (
        f'function explorerModules() {{\n"use strict";\n{body}\nreturn {{ {names} }};\n}}\n'
        "function mountExplorer(element, payload) {\n"
        "  return explorerModules().mount(element, payload, explorerModules.toString());\n}\n"
    )


def style() -> str:
    """The explorer's own CSS, in light and dark colours."""
    return (FOLDER / "explorer.css").read_text(encoding="utf-8")


def _module(name: str) -> str:
    return (FOLDER / f"{name}.js").read_text(encoding="utf-8")


def _steps(module: nn.Module) -> list[dict[str, Any]]:
    """A network as the script reads it: linear layers, activations and residual blocks in order."""
    if isinstance(module, nn.Sequential):
        return [step for part in module for step in _steps(part)]
    if isinstance(module, nn.Linear):
        sizes = {"inputs": module.in_features, "outputs": module.out_features}
        weights = {"weight": _floats(module.weight), "bias": _floats(module.bias)}
        return [{"kind": "linear", **sizes, **weights}]
    if isinstance(module, ResidualBlock):
        return [{"kind": "residual", "steps": _steps(module.change)}]
    if isinstance(module, RandomLayer):
        return []
    return [{"kind": {kind: name for name, kind in ACTIVATIONS.items()}[type(module)]}]


def _classes(run: Run, test: Split, count: int) -> dict[str, Any]:
    """The label of each image, and the name and the colour of each label."""
    if test.labels is None:
        return {"labels": None, "classes": {}, "color": UNLABELLED}
    labels = test.labels[:count].tolist()
    present = sorted({*labels})
    colors = class_colors(present)
    names = [run.splits.source.class_name(label) for label in present]
    classes = {
        str(label): {"name": name, "color": color}
        for label, name, color in zip(present, names, colors, strict=True)
    }
    return {"labels": labels, "classes": classes, "color": UNLABELLED}


def _mean(model: VAE, x: Tensor) -> Tensor:
    q = model.posterior(x)
    mean: Tensor = q.mean
    return mean


def _noise(dims: int) -> Tensor:
    half = torch.randn(NOISE // 2, dims, generator=generator(0, "explorer"))
    return torch.cat([half, -half])


def _floats(values: Tensor) -> str:
    array = values.detach().cpu().numpy().astype("<f4")
    return base64.b64encode(array.tobytes()).decode("ascii")


def _packed(x: Tensor) -> str:
    """Binary images [N, D], each in whole bytes, the first pixel in the highest bit."""
    bits = np.packbits(x.cpu().numpy().astype(np.uint8), axis=1)
    return base64.b64encode(bits.tobytes()).decode("ascii")
