"""The explorer's script by itself: checked by node, and held against values that Python writes."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from small_models import binary_images, small
from torch import nn

from vae_exp.evaluation import exact, masks
from vae_exp.evaluation.gap import inference_gap
from vae_exp.inference.quadrature import elbo_of
from vae_exp.models.networks.layers import ACTIVATIONS, Dropout
from vae_exp.models.networks.mlp import mlp, residual
from vae_exp.models.posteriors import FullGaussianFamily
from vae_exp.models.vae import VAE
from vae_exp.report import explorer

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no node at hand: apt-get install nodejs")
TESTS = Path(__file__).parent / "explorer"
LONGEST = 300  # lines of a module


def node(*words: str, **variables: str) -> None:
    assert NODE is not None
    done = subprocess.run(
        [NODE, *words], capture_output=True, text=True, env={**os.environ, **variables}
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_node
@pytest.mark.slow
def test_the_script_agrees_with_python(tmp_path: Path) -> None:
    script, values = tmp_path / "script.js", tmp_path / "values.json"
    script.write_text(explorer.script(), encoding="utf-8")
    values.write_text(json.dumps(written()), encoding="utf-8")
    tests = sorted(map(str, TESTS.glob("*.test.js")))
    assert tests
    node("--test", *tests, EXPLORER_SCRIPT=str(script), EXPLORER_VALUES=str(values))


@needs_node
def test_the_script_and_its_tests_parse(tmp_path: Path) -> None:
    script = tmp_path / "script.js"
    script.write_text(explorer.script(), encoding="utf-8")
    for file in (script, *TESTS.glob("*.js")):
        node("--check", str(file))


def test_every_module_is_in_the_script_once_and_is_short() -> None:
    files = {file.stem: file.read_text(encoding="utf-8") for file in explorer.FOLDER.glob("*.js")}
    assert sorted(files) == sorted(explorer.MODULES)
    for name, text in files.items():
        assert len(text.splitlines()) < LONGEST, name
        assert text.startswith("// "), f"{name} does not say what it is for"


def test_the_script_uses_nothing_that_a_page_without_a_network_lacks() -> None:
    script = explorer.script()
    told = r"\b(?:import|export|require|eval|fetch|XMLHttpRequest|innerHTML|document\.write|var)\b"
    code = re.sub(r'//.*|"(?:[^"\\\n]|\\.)*"', "", script)
    assert re.findall(told, code) == []
    assert "console." not in code
    assert "</script" not in script
    assert re.findall(r"[^=!]==[^=]|!=[^=]", code) == []


def test_no_two_functions_share_a_name_and_each_is_used() -> None:
    script = explorer.script()
    names = re.findall(r"^(?:async )?(?:function|class|const) (\w+)", script, re.M)
    assert sorted({*names}) == sorted(names)
    body, _, ends = script.rpartition("\nreturn {")
    used = body + ends.partition("}")[2] + "mountExplorer(element, payload)"
    assert [name for name in names if len(re.findall(rf"\b{name}\b", used)) < 2] == []


def written() -> dict[str, Any]:
    """What the tests in JavaScript are held against."""
    rng = np.random.default_rng(0)
    return {
        "bernoulli": [bernoulli(rng, scale) for scale in (1, 10, 60)],
        "gaussians": [gaussian(rng, dims) for dims in (1, 2, 3)],
        "standard": stats.norm.logpdf([0.3, -1.2]).sum(),
        "hermite": [hermite(count) for count in (1, 2, 5, 8, 17, 35)],
        "networks": [network(seed, name) for seed, name in enumerate(ACTIVATIONS)]
        + [network(9, "relu", blocks=2)],
        "models": [
            of_model("a diagonal q", small()),
            of_model("a full q", small(seed=1, posterior=FullGaussianFamily(2))),
            of_model("one dimension", small(1, seed=2)),
        ],
        "raster": raster(),
        "strokes": [stroke(rng) for _ in range(4)],
        "masks": [mask(name, shape) for name in masks.NAMES for shape in ((28, 28), (5, 7))],
    }


def bernoulli(rng: np.random.Generator, scale: float) -> dict[str, Any]:
    logits = scale * rng.normal(size=784)
    x, seen = rng.integers(0, 2, 784), rng.integers(0, 2, 784)
    terms = x * logits - np.logaddexp(0, logits)
    lists = {"logits": logits.tolist(), "x": x.tolist(), "seen": seen.tolist()}
    return {**lists, "whole": terms.sum(), "some": terms[seen == 1].sum()}


def gaussian(rng: np.random.Generator, dims: int) -> dict[str, Any]:
    mean, log_std, z = rng.normal(size=(3, dims))
    row, column = np.tril_indices(dims, -1)
    lower = rng.normal(size=len(row))
    unit = np.eye(dims)
    unit[row, column] = lower
    scale = np.exp(log_std)[:, None] * unit
    q = stats.multivariate_normal(mean, scale @ scale.T)
    kl = 0.5 * (np.trace(scale @ scale.T) + mean @ mean - dims) - log_std.sum()
    lists = {"mean": mean, "log_std": log_std, "z": z, "lower": lower}
    return {
        **{name: value.tolist() for name, value in lists.items()},
        "log_prob": q.logpdf(z),
        "entropy": q.entropy(),
        "kl": kl,
    }


def hermite(count: int) -> dict[str, Any]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    weights = weights / np.sqrt(2 * np.pi)
    return {"count": count, "nodes": nodes.tolist(), "weights": weights.tolist()}


@torch.no_grad()
def network(seed: int, activation: Any, blocks: int = 0) -> dict[str, Any]:
    torch.manual_seed(seed)
    hidden = residual(6, 5, blocks, activation) if blocks else mlp(6, (7, 5), activation)
    layers = nn.Sequential(hidden, Dropout(0.5), nn.Linear(5, 3))
    inputs = torch.randn(3, 6)
    return {
        "steps": explorer._steps(layers),
        "inputs": inputs.tolist(),
        "outputs": layers(inputs).tolist(),
    }


def of_model(name: str, model: VAE) -> dict[str, Any]:
    """Python's numbers of three images, whole and with their last pixels hidden."""
    x = binary_images(3)
    seen = torch.arange(model.pixels) < 7
    noise = explorer._noise(model.latent_dim)
    best = inference_gap(model, x, starts=2, steps=60, rounds=2).own.elbo
    with torch.no_grad():
        visible = exact.evidence(model, x[:, seen], seen.nonzero().flatten()).log_p_x
        log_p_x = exact.evidence(model, x).log_p_x
        q = model.posterior(x)
        elbo = elbo_of(lambda z: model.joint_log_density(x, z), q)
        given = model.elbo_terms(x, noise[:, None].expand(-1, len(x), -1)).bound
    return {
        "name": name,
        "payload": explorer.of_model(model, x),
        "images": x.int().tolist(),
        "seen": seen.int().tolist(),
        "log_p_x": log_p_x.tolist(),
        "log_p_hidden": (log_p_x - visible).tolist(),
        "elbo": elbo.tolist(),
        "elbo_given_noise": given.tolist(),
        "best": best.tolist(),
    }


def raster() -> dict[str, Any]:
    mean, covariance = np.array([0.3, -0.2]), np.array([[0.04, 0.015], [0.015, 0.02]])
    q, step = stats.multivariate_normal(mean, covariance), 0.1
    left, bottom = -0.7, -1.0
    xs, ys = np.meshgrid(left + step * np.arange(21), bottom + step * np.arange(17))
    values = q.logpdf(np.stack([xs, ys], -1))
    return {
        "raster": {
            "values": values.ravel().tolist(),
            "rows": 17,
            "columns": 21,
            "step": step,
            "left": left,
            "bottom": bottom,
        },
        "mean": mean.tolist(),
        "covariance": covariance.ravel().tolist(),
        "peak": q.logpdf(mean),
    }


def stroke(rng: np.random.Generator) -> dict[str, Any]:
    width, height, radius = 9, 7, 1.2
    start, end = rng.uniform(-1, 9, (2, 2))
    way = start + np.linspace(0, 1, 4001)[:, None] * (end - start)
    rows, columns = np.divmod(np.arange(width * height), width)
    centres = np.stack([columns, rows], -1) + 0.5
    far = np.linalg.norm(centres[:, None] - way, axis=-1).min(1)
    lists = {"from": start.tolist(), "to": end.tolist(), "bits": (far <= radius).astype(int)}
    lists["bits"] = lists["bits"].tolist()
    return {"width": width, "height": height, "radius": radius, **lists}


def mask(name: str, shape: tuple[int, int]) -> dict[str, Any]:
    seen = masks.visible_pixels(name, shape=shape).int().tolist()
    return {"name": name, "height": shape[0], "width": shape[1], "seen": seen}
