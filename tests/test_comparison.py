"""Runs are compared if they can be, image by image, and refused if they cannot."""

import copy
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy import stats

from vae_exp import folders
from vae_exp.cli import main as cli
from vae_exp.data import ImageData, Splits
from vae_exp.errors import UserError
from vae_exp.evaluation.estimates import elbo_terms
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.parts import build
from vae_exp.runs import contenders, describing
from vae_exp.runs.metrics import read_metrics, write_metrics
from vae_exp.runs.weights import save_weights

IMAGES = 200


def a_model(latent_dim: int = 2) -> VAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(latent_dim, Encoder((8,)), Decoder((8,)))
    return model.eval()


def nudged(model: VAE) -> VAE:
    """The same model a little further on in training, so to say."""
    stream = torch.Generator().manual_seed(1)
    later = copy.deepcopy(model)
    with torch.no_grad():
        for weight in later.parameters():
            weight += 0.01 * torch.randn(weight.shape, generator=stream)
    return later


def data_config(seed: int = 0, binarization: str = "threshold") -> dict[str, Any]:
    return {
        "_target_": "vae_exp.data.ImageData",
        "source": "digits",
        "train_size": 10,
        "validation_size": 10,
        "test_size": IMAGES,
        "seed": seed,
        "binarization": binarization,
    }


@cache
def splits_of(seed: int, binarization: str) -> Splits:
    module = build(data_config(seed, binarization), "data", ImageData)
    return module.splits


def make_run(
    folder: Path, model: VAE, seed: int = 0, data_seed: int = 0, binarization: str = "threshold"
) -> Path:
    """A finished run of a model: its config, its weights and its test numbers."""
    layer = {"hidden": [8]}
    config = {
        "model": {
            "_target_": "vae_exp.models.vae.VAE",
            "latent_dim": model.latent_dim,
            "encoder": {"_target_": "vae_exp.models.networks.Encoder", **layer},
            "decoder": {"_target_": "vae_exp.models.networks.Decoder", **layer},
        },
        "data": data_config(data_seed, binarization),
    }
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(config, folder / folders.CONFIG)
    OmegaConf.save(["latent_dim=2", f"seed={seed}"], folder / ".hydra" / "overrides.yaml")
    save_weights(model, folder / folders.WEIGHTS)
    splits = splits_of(data_seed, binarization)
    metrics = {
        "data": describing.describe_data(splits, splits.test),
        "test": describing.test_numbers(model, splits.test, seed),
    }
    write_metrics(folder, metrics)
    return folder


def contend(*folders: Path, seed: int = 0) -> list[contenders.Contender]:
    return contenders.contend([str(folder) for folder in folders], seed)


def test_a_paired_standard_error_is_smaller_than_an_unpaired_one(tmp_path: Path) -> None:
    model = a_model()
    one, other = contend(
        make_run(tmp_path / "a", model), make_run(tmp_path / "b", nudged(model), seed=1)
    )
    paired = other.minus(one, "elbo", seed=0)
    unpaired = math.hypot(one.test["elbo"].stderr, other.test["elbo"].stderr)
    assert 0 < paired.stderr < 0.5 * unpaired
    means = other.test["elbo"].mean - one.test["elbo"].mean
    assert abs(paired.mean - means) < 4 * unpaired


def test_a_difference_is_taken_image_by_image_on_common_noise(tmp_path: Path) -> None:
    model = a_model()
    folders = [make_run(tmp_path / "a", model), make_run(tmp_path / "b", nudged(model))]
    one, other = contend(*folders, seed=5)
    images = splits_of(0, "threshold").test.images
    first, second = (elbo_terms(m, images, seed=5) for m in (model, nudged(model)))
    for quantity, term in (("elbo", "bound"), ("log_likelihood", "log_likelihood"), ("kl", "kl")):
        difference = (getattr(second, term) - getattr(first, term)).double()
        found = other.minus(one, quantity, seed=5)
        assert found.mean == pytest.approx(difference.mean().item())
        assert found.stderr == pytest.approx(difference.std().item() / math.sqrt(IMAGES))
        assert one.minus(other, quantity, seed=5).mean == -found.mean


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", a_model())
    one, other = contend(folder, folder)
    nothing = other.minus(one, "elbo", seed=0)
    assert (nothing.mean, nothing.stderr) == (0.0, 0.0)


def test_models_of_different_latent_dims_can_be_compared(tmp_path: Path) -> None:
    one, other = contend(make_run(tmp_path / "a", a_model(2)), make_run(tmp_path / "b", a_model(3)))
    assert (one.latent_dim, other.latent_dim) == (2, 3)
    assert other.minus(one, "kl", seed=0).stderr > 0


def test_different_binarisations_are_refused_naming_both(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", a_model())
    b = make_run(tmp_path / "b", a_model(), binarization="stochastic")
    with pytest.raises(UserError) as caught:
        contend(a, b)
    line = str(caught.value)
    assert "\n" not in line
    for part in (str(a), str(b), "binarization", "threshold>0.5", "stochastic"):
        assert part in line


def test_different_draws_of_the_test_images_are_refused(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", a_model(), binarization="stochastic", data_seed=0)
    b = make_run(tmp_path / "b", a_model(), binarization="stochastic", data_seed=1)
    with pytest.raises(UserError, match="sha256 of the test images"):
        contend(a, b)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.name", "mnist"),
        ("data.split", "validation"),
        ("data.images", 100),
        ("data.sha256", "0" * 64),
        ("test.elbo.estimator", "IWAE"),
        ("test.elbo.samples", 10),
        ("test.log_likelihood.samples", 10),
        ("test.kl.estimator", "Monte Carlo"),
    ],
)
def test_numbers_of_another_protocol_are_refused_naming_both(
    path: str, value: Any, tmp_path: Path
) -> None:
    a, b = (make_run(tmp_path / name, a_model()) for name in "ab")
    metrics = OmegaConf.create(read_metrics(b))
    old = OmegaConf.select(metrics, path)
    OmegaConf.update(metrics, path, value)
    write_metrics(b, OmegaConf.to_container(metrics))  # type: ignore[arg-type]
    with pytest.raises(UserError) as caught:
        contend(a, b)
    for part in (str(old), str(value), path.rpartition(".")[2]):
        assert part in str(caught.value)


def test_a_run_without_test_numbers_is_named(tmp_path: Path) -> None:
    a, b = (make_run(tmp_path / name, a_model()) for name in "ab")
    (b / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"b/metrics\.json has no test numbers"):
        contend(a, b)


def test_a_checkpoint_shows_its_own_numbers_not_those_of_the_final_weights(
    tmp_path: Path,
) -> None:
    model = a_model()
    folder = make_run(tmp_path / "a", model)
    earlier = {f"model.{name}": weight for name, weight in nudged(model).state_dict().items()}
    (folder / "checkpoints").mkdir()
    torch.save({"state_dict": earlier}, folder / "checkpoints" / "best.ckpt")
    final, checkpoint = contend(folder, folder / "checkpoints" / "best.ckpt")
    images = splits_of(0, "threshold").test.images
    expected = elbo_terms(nudged(model), images).bound.double().mean().item()
    assert checkpoint.test["elbo"].mean == pytest.approx(expected)
    assert final.test["elbo"].mean == read_metrics(folder)["test"]["elbo"]["mean"]


def test_the_command_prints_every_run_and_writes_only_the_file_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    model = a_model()
    make_run(Path("a"), model)
    make_run(Path("b"), nudged(model), seed=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    cli._main(["task=compare", "runs=[a,b]", "task.output=both.json"])
    printed = capsys.readouterr().out
    told = json.loads(Path("both.json").read_text())
    for name, run in zip("ab", told["runs"], strict=True):
        recorded = read_metrics(Path(name))["test"]
        assert run["test"] == recorded
        assert f"{recorded['elbo']['mean']:.2f} ± {recorded['elbo']['stderr']:.2f}" in printed
    difference = told["runs"][1]["minus_first"]["elbo"]
    assert f"{difference['mean']:+.3f} ± {difference['stderr']:.3f}" in printed
    assert difference["images"] == IMAGES
    assert "2  b  latent_dim=2 seed=1" in printed
    assert max(map(len, printed.splitlines())) <= 80
    Path("both.json").unlink()
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_runs_of_several_seeds_are_told_as_one_setting_beside_their_errors_over_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    names = [(lr, seed) for lr in (1, 2) for seed in (0, 1, 2)] + [(3, 1)]
    model = a_model()
    for lr, seed in names:
        model = nudged(model)
        folder = make_run(Path(f"{lr}{seed}"), model, seed)
        OmegaConf.save([f"seed={seed}", f"lr={lr}"], folder / ".hydra" / "overrides.yaml")
        write_metrics(folder, {**read_metrics(folder), "run": {"seed": seed}})
    runs = ",".join(f"'{lr}{seed}'" for lr, seed in names)
    cli._main(["task=compare", f"runs=[{runs}]", "task.output=all.json"])
    printed = capsys.readouterr().out
    elbo = np.array([read_metrics(Path(f"{lr}{s}"))["test"]["elbo"]["mean"] for lr, s in names])
    half = stats.t.ppf(0.975, 2) * stats.sem(elbo[3:6])
    row = "".join(printed.split())
    assert f"│4,5,6│{elbo[3:6].mean():.2f}±{half:.2f}│" in row
    stderr = read_metrics(Path("31"))["test"]["elbo"]["stderr"]
    assert f"│7│{elbo[6]:.2f}±{1.96 * stderr:.2f}†│" in row
    assert "95 % over seeds" in printed
    assert max(map(len, printed.splitlines())) <= 80
    told = json.loads(Path("all.json").read_text())["over_seeds"]
    assert [each["runs"] for each in told] == [[1, 2, 3], [4, 5, 6], [7]]
    gain = told[1]["minus_first"]["elbo"]["over_seeds"]
    assert gain["mean"] == pytest.approx((elbo[3:6] - elbo[:3]).mean(), abs=0.5)
    assert gain["half_width"] > 0
    alone = told[2]["minus_first"]["elbo"]
    assert alone["over_seeds"]["half_width"] is None
    ours = stats.studentized_range.ppf(0.95, 3, math.inf) / math.sqrt(2) * alone["stderr"]
    assert alone["over_seeds"]["over_images"] == pytest.approx(ours)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["task=compare"], "task=compare needs finished runs: runs=[FOLDER,FOLDER]"),
        (["task=compare", "runs=[nowhere,latest]"], "got 'nowhere'"),
        (["task=compare", "runs=latest"], "runs must be a list, each text, got 'latest'"),
        (["task=compare", "runs=[a]"], "runs must name two runs or more, got ['a']"),
        (["task=compare", "runs=[a,a]", "run=a"], "run is not read by task=compare"),
        (["task=compare", "runs=[a,a]", "task.output=no/where/x.json"], "No such file"),
        (["task=samples", "run=a", "runs=[a,a]"], "runs is not read by task=samples"),
        (["runs=[a,a]"], "runs is not read by task=train, but by task=ceiling, task=compare"),
    ],
)
def test_a_mistake_in_what_to_compare_is_named_in_one_line(
    words: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(Path("a"), a_model())
    with pytest.raises(UserError) as caught:
        cli._main(words)
    assert line in str(caught.value)
