"""Other libraries' loggers and callbacks: one YAML each, in the run's folder and nowhere else."""

import csv
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from kill_and_resume import logged, small_config, train

from vae_exp import folders
from vae_exp.cli.main import _main
from vae_exp.config.composing import plain_config
from vae_exp.errors import UserError
from vae_exp.runs import saving
from vae_exp.runs.metrics import read_metrics
from vae_exp.training.loggers import refuse_elsewhere

TAGS = {"train/elbo", "val/elbo", "val/kl", "val/log_likelihood"}


def test_csv_holds_what_event_files_would_hold(tmp_path: Path) -> None:
    train(tmp_path / "csv", "logger=csv")
    train(tmp_path / "events")
    with (tmp_path / "csv" / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    curves = logged(tmp_path / "events")
    for tag in TAGS:
        found = [(int(row["step"]), float(row[tag])) for row in rows if row[tag]]
        assert [step for step, _ in found] == [step for step, _ in curves[tag]]
        assert [v for _, v in found] == pytest.approx([v for _, v in curves[tag]], rel=1e-6)
    [test] = [float(row["whole_test/elbo"]) for row in rows if row["whole_test/elbo"]]
    assert test == pytest.approx(read_metrics(tmp_path / "csv")["test"]["elbo"]["mean"])
    settings = yaml.safe_load((tmp_path / "csv/csv/version_0/hparams.yaml").read_text())
    assert settings["batch_size"] == 40
    assert not list((tmp_path / "csv").glob(folders.EVENTS))
    one, other = (read_metrics(tmp_path / name) for name in ("csv", "events"))
    assert one["test"] == other["test"]


def test_a_run_without_a_logger_has_its_numbers(tmp_path: Path) -> None:
    train(tmp_path, "logger=none")
    assert read_metrics(tmp_path)["test"]["elbo"]["mean"] < 0
    assert not list(tmp_path.glob(folders.EVENTS))


def test_mlflow_keeps_a_run_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: vae-exp[mlflow]")
    monkeypatch.chdir(tmp_path)
    train(tmp_path / "run", "logger=mlflow", "name=tried")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/run/mlflow.db")
    experiment = client.get_experiment_by_name("vae_exp")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "tried"
    assert run.data.params["batch_size"] == "40"
    history = client.get_metric_history(run.info.run_id, "val/elbo")
    assert [metric.step for metric in history] == [2, 5]
    tested = read_metrics(tmp_path / "run")["test"]["elbo"]["mean"]
    assert run.data.metrics["whole_test/elbo"] == pytest.approx(tested)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_logger_whose_library_is_missing_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^logger\.wandb needs a package that is not installed: "):
        train(tmp_path, "logger=wandb")


def test_the_learning_rate_is_logged_by_the_librarys_own_callback(tmp_path: Path) -> None:
    train(tmp_path, "callbacks=learning_rate")
    assert any(tag.startswith("lr-") for tag in logged(tmp_path))


def recorded(tmp_path: Path, *words: str) -> Path:
    """A folder with a config as a run that was stopped would leave it."""
    config = plain_config(small_config(*words))
    saving.write_config(tmp_path, config)
    (tmp_path / folders.STARTED).write_text("[]\n")
    return tmp_path


def altered(folder: Path, group: str, **values: Any) -> None:
    path = folder / folders.CONFIG
    config = yaml.safe_load(path.read_text())
    [node] = config[group].values()
    node.update(values)
    path.write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("choice", "values", "told"),
    [
        ("logger=csv", {"save_dir": "/elsewhere"}, "not a place in the run's folder"),
        ("logger=csv", {"save_dir": "../.."}, "not a place in the run's folder"),
        ("logger=csv", {"save_dir": "s3://bucket/x"}, "not a place in the run's folder"),
        ("logger=csv", {"name": "../../x"}, "not a place in the run's folder"),
        ("logger=csv", {"name": "~/x"}, "not a place in the run's folder"),
        ("logger=csv", {"version": "../../x"}, "cannot set it"),
        ("logger=mlflow", {"tracking_uri": "http://evil.example"}, "is not sqlite:/// and a place"),
        ("logger=mlflow", {"tracking_uri": "databricks"}, "is not sqlite:/// and a place"),
        ("logger=mlflow", {"tracking_uri": None}, "is not sqlite:/// and a place"),
        (
            "logger=mlflow",
            {"tracking_uri": "sqlite:////elsewhere/x.db"},
            "not a place in the run's",
        ),
        ("logger=mlflow", {"tracking_uri": "sqlite:///../x.db"}, "not a place in the run's"),
        ("logger=mlflow", {"artifact_location": "../x"}, "not a place in the run's"),
        ("logger=mlflow", {"save_dir": "x"}, "cannot set it"),
        ("logger=mlflow", {"run_id": "1"}, "cannot set it"),
        ("logger=wandb", {"offline": False}, "cannot set it to false"),
        ("logger=wandb", {"settings": {"base_url": "x"}}, "cannot set it"),
        ("logger=wandb", {"entity": "evil"}, "cannot set it"),
        ("callbacks=early_stopping", {"verbose": True}, "cannot set it"),
        ("callbacks=early_stopping", {"monitor": {"a": 1}}, "must be text"),
    ],
)
def test_a_runs_own_config_sends_and_writes_nothing_elsewhere(
    choice: str, values: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    recorded(run, choice)
    altered(run, choice.partition("=")[0], **values)
    with pytest.raises(UserError, match=told):
        _main([f"resume={run}"])
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert {path.name for path in run.iterdir()} == {".hydra"}


@pytest.mark.parametrize("choice", ["logger=csv", "logger=mlflow", "callbacks=early_stopping"])
def test_what_a_run_was_started_with_is_not_refused(choice: str, tmp_path: Path) -> None:
    recorded(tmp_path, choice)
    refuse_elsewhere(plain_config(small_config(choice)), tmp_path)


def test_a_class_that_only_logs_is_no_callback(tmp_path: Path) -> None:
    run = recorded(tmp_path, "callbacks=early_stopping")
    altered(run, "callbacks", _target_="pytorch_lightning.loggers.CSVLogger")
    with pytest.raises(UserError, match="must be a class that conf/callbacks names"):
        _main([f"resume={run}"])


def test_nothing_is_logged_through_a_link_that_leads_elsewhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    run = tmp_path / "run"
    run.mkdir()
    recorded(run, "logger=csv")
    (run / "csv").mkdir()
    (run / "csv" / "version_0").symlink_to(outside)
    with pytest.raises(UserError, match="out of"):
        _main([f"resume={run}"])
    assert not list(outside.iterdir())


def test_a_csv_run_goes_on_in_a_version_of_its_own(tmp_path: Path) -> None:
    train(tmp_path, "logger=csv")
    (tmp_path / "model.safetensors").unlink()
    shutil.rmtree(tmp_path / "figures", ignore_errors=True)
    train(tmp_path, "logger=csv")
    found = {path.parent.name for path in tmp_path.glob("csv/*/metrics.csv")}
    assert found == {"version_0", "version_1"}
