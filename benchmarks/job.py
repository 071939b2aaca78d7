"""The rest of a run: how soon it starts, what evaluation and inference cost beside their limit."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

import torch

from benchmarks.products import LIMIT, EvaluationProducts, InferenceProducts
from benchmarks.training import default_model
from vae_exp.data import ImageData
from vae_exp.evaluation import estimates
from vae_exp.inference import svi
from vae_exp.models.vae import top_half
from vae_exp.probability.gaussians import DiagonalGaussian
from vae_exp.probability.streams import generator

IMPORTS = "import torch, pytorch_lightning"
ENDS = "import os; os._exit(0)"  # at once, as the process that comes to its first step does
FIRST_STEP = "python -m vae_exp, to its first step"
HELP = "python -m vae_exp --help"
ELBO = "ELBO of 10,000 images"
SVI = "SVI, 1,000 half images, K = 16, a step"
SVI_STEPS = 20

# Ends the process as soon as the first step has its loss. What looks at the model before has none.
STOP_AT_FIRST_STEP = """
import os, runpy, sys
import torch
def first(*_, **__):
    os._exit(0)
torch.Tensor.backward = first
sys.argv = ["vae_exp", *sys.argv[1:]]
runpy.run_module("vae_exp", run_name="__main__")
"""


def seconds(*words: str, cwd: str | None = None) -> float:
    """How long a Python process takes."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *words], cwd=cwd, check=True, stdout=subprocess.DEVNULL, env=environment()
    )
    return time.perf_counter() - start


def environment() -> dict[str, str]:
    """This process's, with a path to the data that holds in every folder."""
    root = os.environ.get("VAE_EXP_DATA", "data")
    return {**os.environ, "VAE_EXP_DATA": os.path.abspath(root)}


def imports() -> Mapping[str, float]:
    """What no start can be faster than."""
    return {IMPORTS: seconds("-c", f"{IMPORTS}; {ENDS}")}


def first_step() -> Mapping[str, float]:
    """From the command to the first training step of the default run."""
    with tempfile.TemporaryDirectory() as folder:
        return {FIRST_STEP: seconds("-c", STOP_AT_FIRST_STEP, cwd=folder)}


def help_screen() -> Mapping[str, float]:
    """From the command to the prompt."""
    return {HELP: seconds("-m", "vae_exp", "--help")}


class Evaluation:
    """The ELBO of the test set."""

    def __init__(self, data: ImageData):
        self.images = data.splits.test.images
        self.model = default_model().eval()
        self.limit = EvaluationProducts(len(self.images), batch=1000)

    def __call__(self) -> Mapping[str, float]:
        """Once, after its products."""
        limit = self.limit()
        start = time.perf_counter()
        estimates.elbo_terms(self.model, self.images)
        return {**limit, ELBO: time.perf_counter() - start}


class Inference:
    """A q for each of 1,000 top halves, all at once."""

    def __init__(self, data: ImageData):
        self.top = top_half(data.splits.test.images[:1000])
        self.model = default_model().eval().requires_grad_(False)
        self.limit = InferenceProducts(rows=16 * len(self.top), steps=SVI_STEPS)

    def __call__(self) -> Mapping[str, float]:
        """A few steps, after their products; seconds a step."""
        limit = self.limit()[LIMIT]
        start = DiagonalGaussian(torch.zeros(len(self.top), 2), torch.zeros(len(self.top), 2))
        begun = time.perf_counter()
        svi.fit(
            lambda z: self.model.joint_log_density_top_half(self.top, z),
            start,
            samples=16,
            steps=SVI_STEPS,
            generator=generator(0, "benchmark"),
        )
        return {LIMIT: limit / SVI_STEPS, SVI: (time.perf_counter() - begun) / SVI_STEPS}
