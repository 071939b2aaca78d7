"""A run's folder is safe to read, exact to reload and never half-written."""

import importlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from vae_exp import folders
from vae_exp.atomic import write_atomically
from vae_exp.errors import UserError
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO, IWAE
from vae_exp.models.vae import VAE
from vae_exp.parts import build
from vae_exp.runs import loading, saving
from vae_exp.runs.metrics import read_metrics, write_metrics
from vae_exp.runs.upgrade import upgraded_config
from vae_exp.runs.weights import save_weights
from vae_exp.training.distributed import Processes
from vae_exp.training.hardware import Hardware
from vae_exp.training.optimizers import Adam, AdamOneCycle
from vae_exp.training.train import Train


def model_config(latent_dim: int = 2, hidden: int = 8) -> dict[str, object]:
    layer = {"hidden": [hidden]}
    return {
        "_target_": "vae_exp.models.vae.VAE",
        "latent_dim": latent_dim,
        "encoder": {"_target_": "vae_exp.models.networks.Encoder", **layer},
        "decoder": {"_target_": "vae_exp.models.networks.Decoder", **layer},
    }


def make_run(folder: Path, latent_dim: int = 2, saved: int | None = None) -> VAE:
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save({"model": model_config(saved or latent_dim)}, folder / folders.CONFIG)
    model = VAE(latent_dim, Encoder((8,)), Decoder((8,)))
    save_weights(model, folder / folders.WEIGHTS)
    return model


def test_a_run_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = make_run(tmp_path / "run")
    loaded = loading.load(str(tmp_path / "run")).model
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_latest_is_the_newest_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in ((30, "outputs/a/1"), (10, "multirun/b/2/0"), (20, "outputs/c/3")):
        make_run(tmp_path / name)
        stamp = 1_700_000_000 - age
        os.utime(tmp_path / name / folders.WEIGHTS, (stamp, stamp))
    (tmp_path / "outputs/z/9/checkpoints").mkdir(parents=True)  # still training
    assert folders.find("latest") == Path("outputs/c/3")  # not a sweep's job


def test_latest_without_a_run_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="train one first"):
        folders.find("latest")


def test_weights_of_another_latent_dim_are_refused_naming_both(tmp_path: Path) -> None:
    make_run(tmp_path, latent_dim=3, saved=2)
    with pytest.raises(UserError, match=r"encoder.parameters_of_q.weight is \[6, 8\].*\[4, 8\]"):
        loading.load(str(tmp_path))


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    make_run(tmp_path)
    path = tmp_path / folders.WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{folders.WEIGHTS} is damaged"):
        loading.load(str(tmp_path))


class Bomb:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_a_malicious_checkpoint_runs_nothing(tmp_path: Path) -> None:
    make_run(tmp_path)
    mark = tmp_path / "executed"
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir()
    torch.save({"state_dict": Bomb(mark)}, checkpoint)
    with pytest.raises(UserError, match="trusted"):
        loading.load(str(checkpoint))
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # the bomb works if pickle is trusted


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "vae_exp.runs.loading.os.system",
        "vae_exp.runs.loading.subprocess.run",
        "vae_exp.runs.loading.Path",
        "vae_exp.runs.loading.write_metrics",
        "vae_exp",
        "",
        "subprocess.Popen",
        "pytorch_lightning.Trainer",
    ],
)
def test_a_config_builds_only_classes_of_this_package(target: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    config = {"a": [{"_target_": target, "command": f"mkdir {mark}"}]}
    with pytest.raises(UserError, match=r"_target_ must be a class that conf/model names"):
        build(config, "model", VAE)
    assert not mark.exists()


def test_a_config_of_this_package_is_built() -> None:
    model = build(model_config(latent_dim=3), "model", VAE)
    assert isinstance(model, VAE)
    assert model.latent_dim == 3


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomically(tmp_path, "metrics.json", b"old")

    with pytest.raises(TypeError):
        write_atomically(tmp_path, "metrics.json", "not bytes")  # type: ignore[arg-type]
    assert (tmp_path / "metrics.json").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_findings_are_added_beside_what_is_there(tmp_path: Path) -> None:
    write_metrics(tmp_path, {"run": {"seed": 0}})
    saving.add_findings(tmp_path, "samples", {"seed": 1})
    saving.add_findings(tmp_path, "scatter", {"seed": 2})
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["run"] == {"seed": 0}
    assert metrics["analyses"] == {"samples": {"seed": 1}, "scatter": {"seed": 2}}


def test_metrics_of_a_newer_schema_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"schema": 2}')
    with pytest.raises(UserError, match=r"schema 2, this version reads 1"):
        read_metrics(tmp_path)


def test_a_run_of_an_older_version_still_loads(tmp_path: Path) -> None:
    model = make_run(tmp_path / "run")
    layer = {"latent_dim": "${latent_dim}", "hidden": [8]}
    old = {
        "latent_dim": 2,
        "model": {
            "_target_": "vae_exp.model.VAE",
            "encoder": {"_target_": "vae_exp.networks.Encoder", **layer},
            "decoder": {"_target_": "vae_exp.networks.Decoder", **layer},
        },
    }
    OmegaConf.save(old, tmp_path / "run" / folders.CONFIG)
    weights = {
        name.replace("decoder.parameters_of_x.", "decoder.logits."): tensor
        for name, tensor in model.state_dict().items()
    }
    save_file(weights, tmp_path / "run" / folders.WEIGHTS)
    loaded = loading.load(str(tmp_path / "run")).model
    x = torch.ones(1, 784)
    assert torch.equal(loaded.posterior(x).mean, model.posterior(x).mean)
    z = torch.ones(3, 2)
    assert torch.equal(loaded.likelihood(z).mean, model.likelihood(z).mean)


OLDER = {
    "vae_exp.model.VAE": VAE,
    "vae_exp.networks.Encoder": Encoder,
    "vae_exp.networks.Decoder": Decoder,
    "vae_exp.objectives.ELBO": ELBO,
    "vae_exp.objectives.IWAE": IWAE,
    "vae_exp.optimizers.Adam": Adam,
    "vae_exp.optimizers.AdamOneCycle": AdamOneCycle,
    "vae_exp.training.Hardware": Hardware,
    "vae_exp.distributed.Processes": Processes,
    "vae_exp.tasks.Train": Train,
}


@pytest.mark.parametrize(("old", "part"), OLDER.items(), ids=OLDER.keys())
def test_the_name_that_an_older_version_had_for_a_class_is_known(old: str, part: type) -> None:
    [found] = upgraded_config({"a": [{"_target_": old}]})["a"]
    module, _, name = found["_target_"].rpartition(".")
    assert getattr(importlib.import_module(module), name) is part
