"""A benchmark takes turns, compares within a round, and measures what a user runs."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from warm import start

from benchmarks import __main__ as bench
from benchmarks import gpu, growth, peers, pictures, plain, training
from benchmarks.paired import alternate, quartiles, table
from vae_exp.data import ImageData
from vae_exp.figures import png
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE


def test_contestants_take_turns_and_are_compared_within_a_round() -> None:
    turns: list[str] = []
    slow_minutes = iter([100.0, 1.0, 5.0, 2.0])  # the first round does not count
    minute = 0.0

    def limit() -> Mapping[str, float]:
        nonlocal minute
        minute = next(slow_minutes)
        turns.append("limit")
        return {"limit": minute}

    def ours() -> Mapping[str, float]:
        turns.append("ours")
        return {"ours": 2 * minute, "whole": 3 * minute}

    found = alternate([limit, ours], "limit", rounds=3, title="")
    assert turns == ["limit", "ours"] * 4
    assert found["limit"].seconds == [1, 5, 2]
    assert found["ours"].ratios == [2, 2, 2]
    assert found["whole"].as_dict()["ratio_median"] == 3
    assert found["ours"].as_dict()["seconds_median"] == 4
    assert table("", found, {"ours": 1.25}).row_count == 3


def test_quartiles_hold_half_of_the_rounds() -> None:
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == [2, 4]
    assert quartiles([7.0]) == [7, 7]


def test_the_trainer_is_timed_by_epoch_with_and_without_what_follows_the_steps() -> None:
    data = ImageData(source="digits", train_size=60, validation_size=30, batch_size=20)
    found = training.OurTrainer(data, hidden=10)()
    assert 0 < found[training.STEPS] < found[training.WHOLE]


def test_the_plain_model_has_our_loss() -> None:
    torch.manual_seed(0)
    x, noise = (torch.rand(5, 12) < 0.5).float(), torch.randn(5, 2)
    theirs, ours = plain.PlainVAE(12, 7), VAE(2, Encoder((7,)), Decoder((7,)), shape=(12,))
    weights = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), weights, strict=True)))
    loss = ours.loss(x, noise=noise)
    torch.testing.assert_close(theirs.loss(x, noise), loss)
    found = plain.PlainTorch(x, x[:3], 2)()
    assert 0 < found[plain.STEPS] < found[plain.WHOLE]


@pytest.mark.slow
@pytest.mark.parametrize("name", peers.PEERS)
def test_another_package_trains_for_an_epoch(name: str) -> None:
    pytest.importorskip(name)
    found = peers.PEERS[name]((torch.rand(40, 784) < 0.5).float(), 20)()
    assert all(seconds > 0 for seconds in found.values())


@pytest.mark.slow
def test_what_is_measured_on_a_gpu_is_measured_without_one(tmp_path: Path) -> None:
    taking = gpu.Measurements(tmp_path, "cpu", images=40, rounds=1, seconds=99.0, hidden=9)
    taking.part("agreement", taking.agreement)
    taking.part("epoch", lambda: taking.epochs(20))
    taking.part("graph", lambda: {"seconds": gpu.GraphLoop(taking.train, 20)()})
    taking.part("SVI", lambda: taking.svi(taking.device))
    taking.ends = 0.0
    taking.part("log p(x)", lambda: taking.evidence(taking.device))
    kept = json.loads((tmp_path / gpu.FILE).read_text(encoding="utf-8"))["results"]
    assert kept["agreement"]["agrees"]
    assert set(kept["epoch"]["seconds"]) == {
        training.STEPS,
        training.WHOLE,
        training.FUSED,
        training.LIGHTNING,
    }
    assert "CUDA" in kept["graph"]["failed"]  # and the next part was measured all the same
    assert kept["SVI"]["seconds"]["a step of SVI, cpu"] > 0
    assert kept["log p(x)"] == {"left out": "no time was left"}
    told = gpu.markdown(kept)
    assert "agree: of one image" in told
    assert "| graph | failed |" in told
    assert told.count("\n| ") == 4 + 1 + 1 + 1


def test_growth_draws_every_setting() -> None:
    points = {
        name: [
            {"value": value, "seconds": 2.0 * value, "limit": 1.0 * value, "megabytes": 600.0}
            for value in values
        ]
        for name, values in growth.GROWN.items()
    }
    fig = growth.draw(points, "a machine")
    assert len(fig.axes) == 2 * len(growth.GROWN)
    for ax, name in zip(fig.axes, growth.GROWN, strict=False):
        ours, limit = ax.lines
        assert list(ours.get_ydata()) == pytest.approx([2 * x for x in limit.get_ydata()])
        assert list(ours.get_xdata()) == growth.GROWN[name]
    assert png(fig).startswith(b"\x89PNG")


def test_the_results_are_kept_in_a_fresh_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(report: bench.Report, rounds: int) -> None:
        report.add("help", [bench.job.help_screen], bench.job.HELP, rounds)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "measure_job", measure)
    bench.main(["job", "--rounds", "1"])
    kept = json.loads((tmp_path / "outputs" / "benchmarks" / "results.json").read_text())
    assert kept["results"]["help"][bench.job.HELP]["seconds_median"] > 0


def test_the_readme_shows_every_picture_that_one_command_makes() -> None:
    readme = (Path(pictures.__file__).parents[1] / "README.md").read_text()
    shown = set(re.findall(r"docs/(\w+\.png)", readme))
    assert shown == {*pictures.SHOWN, *pictures.ELSEWHERE}


def test_the_sweeps_of_the_docs_are_those_that_one_command_runs() -> None:
    page = (Path(pictures.__file__).parents[1] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    assert re.findall(r"\((sweep_\w+\.png)\)", page) == list(pictures.SWEEPS)
    page = page.replace("\\\n", " ").replace("$SMALL", " ".join(pictures.SMALL))
    lines = re.findall(r"^python -m vae_exp (.*)$", page, re.M)
    typed = [sorted(shlex.split(line, comments=True)) for line in lines]
    assert all(sorted(words) in typed for words in pictures.SWEEPS.values())
    assert sorted(["-m", "resume=latest", *pictures.MORE_TRIALS]) in typed


@pytest.mark.slow
def test_a_sweep_of_which_a_job_fails_has_its_picture_in_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    words = ("-m", "task=fit", "data=debug", "data.source=digits", "epochs=1", "lr=1e-3,1e-2,1e18")
    for _ in range(2):  # of the sweep that is there
        pictures.make_sweeps(Path("sweeps"), Path("docs"), {"sweep_lr.png": words})
    assert [path.name for path in Path("docs").iterdir()] == ["sweep_lr.png"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_one_command_makes_the_pictures_of_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    few = ("images=20", "iwae=[1]", "long_iwae=2", "gap_images=20", "ais_images=2")
    evaluate = [f"task.{word}" for word in (*few, "sandwich_images=2")]
    looks = {"evaluate": evaluate, "posterior_atlas": ["task.candidates=10"]}
    training = ["data=debug", "data.source=digits", "epochs=1", "model.encoder.hidden=[20]"]
    training += ["~task.analyses.top_half", "~task.analyses.questions", "~task.analyses.manifold"]

    def vae_exp(*words: str) -> None:
        process = start(tmp_path, *words)
        _, err = process.communicate()
        assert process.returncode == 0, err

    monkeypatch.setattr(pictures, "vae_exp", vae_exp)
    pictures.make(Path("run"), Path("docs"), training, looks)
    assert {path.name for path in Path("docs").iterdir()} == set(pictures.SHOWN)
    before = Path("run", "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(pictures, "LOOKS", {})
    pictures.make(Path("run"), Path("docs"), training)  # of the run that is there
    assert Path("run", "model.safetensors").stat().st_mtime_ns == before
