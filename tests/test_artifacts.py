"""What somebody else's run holds is read, never run; what does not fit is refused by name."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from kill_and_resume import LAST, WEIGHTS
from omegaconf import OmegaConf

from vae_exp import folders
from vae_exp.cli.main import _main, main
from vae_exp.errors import UserError
from vae_exp.evaluation.estimates import estimate
from vae_exp.runs import loading
from vae_exp.runs.metrics import read_metrics, write_metrics
from vae_exp.runs.weights import KEY, load_checkpoint


@pytest.fixture
def theirs(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a run, from somebody else, that is not finished."""
    shutil.copytree(finished_run, tmp_path / "theirs")
    (tmp_path / "theirs" / WEIGHTS).unlink()
    return tmp_path / "theirs"


def change(folder: Path, key: str, value: Any) -> None:
    """Change one key of a run's config."""
    config = OmegaConf.load(folder / folders.CONFIG)
    OmegaConf.update(config, key, value, merge=False, force_add=True)
    OmegaConf.save(config, folder / folders.CONFIG)


def refusals(folder: Path) -> list[str]:
    """How looking at a run's checkpoint, and resuming it, are refused."""
    lines = []
    for words in (["task=samples", f"run={folder / LAST}"], [f"resume={folder}"]):
        with pytest.raises(UserError) as caught:
            _main(words)
        lines.append(" ".join(str(caught.value).split()))
    return lines


def bomb(mark: Path) -> dict[str, Any]:
    """A config node that makes a folder, if anything is built that it names."""
    return {"_target_": "os.mkdir", "path": str(mark)}


@pytest.mark.parametrize("words", [["task=samples", "run={}/" + LAST], ["resume={}"]])
def test_a_malicious_config_runs_nothing(
    words: list[str],
    theirs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mark = tmp_path / "executed"
    change(theirs, "model.decoder", bomb(mark))
    monkeypatch.setattr("sys.argv", ["vae_exp", *(word.format(theirs) for word in words)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert str(theirs / folders.CONFIG) in err
    assert "must be a class that conf/model names, got 'os.mkdir'" in err
    assert not mark.exists()


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "place",
    [
        "model",
        "data",
        "objective",
        "optimizer",
        "trainer",
        "figures",
        "task",
        "task.analyses.samples",
    ],
)
def test_no_part_of_a_config_builds_what_is_not_of_this_package(
    place: str, theirs: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "executed"
    change(theirs, place, bomb(mark))
    with pytest.raises(UserError, match=r"must be a class that conf/\w+ names, got .os\.mkdir"):
        _main([f"resume={theirs}"])
    change(
        theirs, place, {"_target_": "vae_exp.runs.loading.subprocess.run", "args": f"mkdir {mark}"}
    )
    with pytest.raises(UserError, match=r"must be a class that conf/\w+ names"):
        _main([f"resume={theirs}"])
    assert not mark.exists()


def test_a_yaml_tag_runs_nothing(theirs: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    (theirs / folders.CONFIG).write_text(f"model: !!python/object/apply:os.mkdir ['{mark}']\n")
    for line in refusals(theirs):
        assert f"{theirs / folders.CONFIG} is damaged: it holds the tag" in line
    assert not mark.exists()


class Bomb:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_a_malicious_checkpoint_is_not_resumed_and_runs_nothing(
    theirs: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "executed"
    rewrite(theirs, lambda contents: contents["loops"].update(bomb=Bomb(mark)))
    for line in refusals(theirs):
        assert f"{theirs / LAST} is not a checkpoint that can be trusted" in line
    assert not mark.exists()


def rewrite(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change a run's newest checkpoint."""
    contents = torch.load(folder / LAST, weights_only=True)
    edit(contents)
    (folder / LAST).unlink()
    torch.save(contents, folder / LAST)


def test_what_a_newer_version_made_is_refused_naming_both(finished_run: Path, theirs: Path) -> None:
    rewrite(theirs, lambda contents: contents["vae_exp"].update(schema=2))
    for line in refusals(theirs):
        assert f"{theirs / LAST} has schema 2, this version reads 1" in line
    change(theirs, "schema", 3)
    for line in refusals(theirs):
        assert f"{theirs / folders.CONFIG} has schema 3, this version reads 1" in line
    weights = safetensors.torch.load_file(finished_run / WEIGHTS)
    safetensors.torch.save_file(weights, theirs / WEIGHTS, {KEY: '{"schema": 4}'})
    change(theirs, "schema", 1)
    with pytest.raises(UserError, match=r"model.safetensors has schema 4, this version reads 1"):
        loading.load(str(theirs))


def test_every_artifact_of_a_run_tells_its_schema(finished_run: Path) -> None:
    assert OmegaConf.load(finished_run / folders.CONFIG).schema == 1
    assert load_checkpoint(finished_run / LAST)["vae_exp"]["schema"] == 1
    assert read_metrics(finished_run)["schema"] == 1
    with safetensors.safe_open(finished_run / WEIGHTS, "pt") as file:
        assert file.metadata() == {KEY: '{"schema": 1, "latent_dim": 2}'}


def test_a_number_that_is_not_finite_is_null_in_the_file_and_nan_to_its_reader(
    tmp_path: Path,
) -> None:
    """The standard error of a test set of one image."""
    test = {"elbo": estimate(torch.ones(1), "ELBO").as_dict()}
    write_metrics(tmp_path, {"test": test})
    text = (tmp_path / "metrics.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["test"]["elbo"]["stderr"] is None
    assert math.isnan(read_metrics(tmp_path)["test"]["elbo"]["stderr"])


def test_a_checkpoint_of_another_latent_dim_is_refused_naming_both(theirs: Path) -> None:
    change(theirs, "latent_dim", 3)
    looked, resumed = refusals(theirs)
    assert "parameters_of_q.weight is [4, 32] in the file and [6, 32] in the config" in looked
    assert "model.latent_dim was 2" in resumed
    assert "is 3 in the run's config" in resumed


def test_a_config_with_keys_of_another_version_is_refused_by_name(theirs: Path) -> None:
    change(theirs, "model.encoder.depth", 3)
    for line in refusals(theirs):
        assert str(theirs / folders.CONFIG) in line
        assert "unknown key 'model.encoder.depth'" in line


def test_a_config_whose_parts_do_not_fit_is_refused_in_one_line(theirs: Path) -> None:
    change(theirs, "prior.latent_dim", 5)
    looked, resumed = refusals(theirs)
    assert looked == "model and prior must agree on latent_dim, got 2 and 5"
    assert "prior.latent_dim was 2" in resumed
