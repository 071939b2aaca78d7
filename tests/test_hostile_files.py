"""Files from somebody else, damaged or made to harm: one line, no hang, nothing written elsewhere.

A table of files by what is done with them; all of it in this process.
"""

import json
import os
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from kill_and_resume import LAST, WEIGHTS
from omegaconf import OmegaConf

from vae_exp import folders
from vae_exp.cli.main import _main
from vae_exp.errors import UserError
from vae_exp.evaluation.masks import visible_pixels
from vae_exp.runs import saving
from vae_exp.runs.metrics import read_metrics, write_metrics
from vae_exp.runs.weights import KEY
from vae_exp.sweeping import sweeps

pytestmark = pytest.mark.thinned(2)

METRICS = "metrics.json"
EVENTS = "events.out.tfevents.0"


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run; its checkpoint is of one epoch before."""
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (run / "checkpoints" / "previous.ckpt").replace(run / LAST)
    return run


def refusal(*words: str) -> str:
    """The one line with which a command is refused."""
    with pytest.raises(UserError) as caught:
        _main(list(words))
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 1000
    return line


def look(run: Path) -> str:
    return refusal("task=samples", f"run={run}")


def compare(run: Path) -> str:
    return refusal("task=compare", f"runs=[{run},{run}]")


def resume(run: Path) -> str:
    (run / WEIGHTS).unlink(missing_ok=True)
    return refusal(f"resume={run}")


def deep(depth: int) -> str:
    return '{"analyses": ' + '{"a": ' * depth + "1" + "}" * (depth + 1)


BAD_METRICS = {
    "empty": "",
    "cut": '{"data": {"name": "mn',
    "not utf-8": b"\xff\xfe",
    "list": "[]",
    "null": "null",
    "number": "3",
    "text": '"metrics"',
    "deep list": "[" * 100_000,
    "deep object": deep(100_000),
    "deep but whole": deep(500),
    "half a character": '{"data": {"name": "\\ud800"}}',
    "data null": '{"data": null}',
    "data a list": '{"data": []}',
    "data without sha256": '{"data": {"name": "digits"}}',
    "name of markup": '{"data": {"name": "[/]"}}',
    "name that is interpreted": '{"data": {"name": "${oc.env:HOME}"}}',
    "test a list": '{"test": []}',
    "elbo null": '{"test": {"elbo": null}}',
    "mean a text": '{"test": {"elbo": {"mean": "-1", "estimator": "e"}}}',
    "mean a list": '{"test": {"elbo": {"mean": [1], "estimator": "e"}}}',
    "mean true": '{"test": {"elbo": {"mean": true, "estimator": "e"}}}',
    "analyses a list": '{"analyses": []}',
    "analysis a number": '{"analyses": {"samples": 1}}',
    "seed a text": '{"run": {"seed": "0"}}',
    "huge number": '{"run": {"seed": ' + "1" * 5000 + "}}",
    "validation text": '{"validation": {"best_elbo": "good"}}',
}


@pytest.mark.thinned(3)
@pytest.mark.sampled(9)
@pytest.mark.parametrize("text", BAD_METRICS.values(), ids=BAD_METRICS.keys())
def test_bad_metrics_are_one_line_for_every_command_that_reads_them(
    text: str | bytes, run: Path
) -> None:
    contents = text if isinstance(text, bytes) else text.encode()
    (run / METRICS).write_bytes(contents)
    for command in (look, compare):
        line = command(run)
        assert f"{run / METRICS} is damaged: " in line
    assert (run / METRICS).read_bytes() == contents
    job = sweep_of(run)
    assert (job.status, job.metrics) == (sweeps.FAILED, {})
    assert "is damaged" in job.error
    assert "\n" not in job.error


def sweep_of(run: Path) -> sweeps.Job:
    """The run as the only job of a sweep."""
    sweep = run.parent / "sweep"
    sweep.mkdir()
    sweeps.write_plan(sweep, sweeps.Plan([["seed=0"]]))
    shutil.copytree(run, sweep / "0", symlinks=True, ignore=lambda *_: {METRICS, "checkpoints"})
    (run / METRICS).rename(sweep / "0" / METRICS)
    return sweeps.jobs(sweep)[0]


def test_metrics_without_test_numbers_are_refused_where_they_are_needed(run: Path) -> None:
    (run / METRICS).write_text("{}")
    assert "has no test numbers" in compare(run)


def test_numbers_that_are_not_finite_are_null_in_the_file_and_nan_when_read(tmp_path: Path) -> None:
    bad = {"mean": float("inf"), "stderr": float("nan"), "estimator": "e"}
    numbers = {"test": {"elbo": bad}, "validation": {"best_elbo": -float("inf")}}
    write_metrics(tmp_path, numbers)
    saving.add_findings(tmp_path, "trust", {"values": [1.0, float("nan")]})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / METRICS).read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=refuse)
    assert found["test"]["elbo"] == {"mean": None, "stderr": None, "estimator": "e"}
    assert found["validation"]["best_elbo"] is None
    assert found["analyses"]["trust"]["values"] == [1.0, None]
    again = read_metrics(tmp_path)
    assert again["test"]["elbo"]["mean"] != again["test"]["elbo"]["mean"]


def test_metrics_of_an_older_version_with_nan_in_them_are_still_read(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"test": {"elbo": {"mean": NaN, "estimator": "e"}}, "new": 1}')
    assert read_metrics(tmp_path)["new"] == 1


def put(run: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the weights of a run."""
    weights = safetensors.torch.load_file(run / WEIGHTS)
    edit(weights)
    safetensors.torch.save_file(weights, run / WEIGHTS)


def cast(dtype: torch.dtype) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        put(run, lambda weights: weights.update({k: v.to(dtype) for k, v in weights.items()}))

    return change


def fill(value: float) -> Callable[[Path], None]:
    return lambda run: put(
        run, lambda weights: next(iter(weights.values())).view(-1)[:1].fill_(value)
    )


def header(text: str, body: bytes = b"") -> Callable[[Path], None]:
    contents = struct.pack("<Q", len(text)) + text.encode() + body
    return lambda run: (run / WEIGHTS).write_bytes(contents)


def metadata(text: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        weights = safetensors.torch.load_file(run / WEIGHTS)
        safetensors.torch.save_file(weights, run / WEIGHTS, {KEY: text})

    return change


def sparse(run: Path) -> None:
    with (run / WEIGHTS).open("r+b") as file:
        file.truncate(1 << 40)


BAD_WEIGHTS = {
    "nan": (fill(float("nan")), "not finite"),
    "infinite": (fill(float("inf")), "not finite"),
    "int64": (cast(torch.int64), "of I64 in the file"),
    "bool": (cast(torch.bool), "of BOOL in the file"),
    "complex": (cast(torch.complex64), "of C64 in the file"),
    "half": (cast(torch.float16), "of F16 in the file"),
    "double": (cast(torch.float64), "of F64 in the file"),
    "one missing": (lambda run: put(run, lambda w: w.pop(next(iter(w)))), "absent in the file"),
    "one too many": (lambda run: put(run, lambda w: w.update(x=torch.ones(1))), "absent in the co"),
    "empty": (lambda run: (run / WEIGHTS).write_bytes(b""), "is damaged"),
    "short": (lambda run: (run / WEIGHTS).write_bytes(b"1234"), "is damaged"),
    "header too long": (
        lambda run: (run / WEIGHTS).write_bytes(b"\xff" * 100),
        "is damaged: its header has",
    ),
    "header a list": (header("[]"), "is damaged"),
    "header null": (header("null"), "is damaged"),
    "header deep": (header("[" * 100_000), "is damaged"),
    "entry a number": (header('{"a": 1}'), "is damaged"),
    "entry without shape": (header('{"a": {}}'), "made for another model"),
    "metadata a list": (header('{"__metadata__": []}'), "is damaged"),
    "ours a list": (metadata("[]"), "is damaged"),
    "ours null": (metadata("null"), "is damaged"),
    "ours not json": (metadata("{"), "is damaged"),
    "schema a list": (metadata('{"schema": [2]}'), "has schema [2], this version reads 1"),
    "much longer": (sparse, "is damaged: it holds more than"),
}


@pytest.mark.sampled(9)
@pytest.mark.parametrize(("change", "told"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS.keys())
def test_bad_weights_are_one_line(change: Callable[[Path], Any], told: str, run: Path) -> None:
    change(run)
    for command in (look, compare):
        line = command(run)
        assert str(run / WEIGHTS) in line
        assert told in line


def rewrite(run: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change a run's newest checkpoint."""
    contents = torch.load(run / LAST, weights_only=True)
    changed = edit(contents)
    (run / LAST).unlink()
    torch.save(contents if changed is None else changed, run / LAST)


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def edit(contents: dict[str, Any]) -> None:
        for key in keys[:-1]:
            contents = contents[key]
        del contents[keys[-1]]

    return edit


def having(value: Any, *keys: str) -> Callable[[dict[str, Any]], None]:
    def edit(contents: dict[str, Any]) -> None:
        for key in keys[:-1]:
            contents = contents[key]
        contents[keys[-1]] = value

    return edit


def moments(change: Callable[[torch.Tensor], object]) -> Callable[[dict[str, Any]], None]:
    """Put something else in the place of what the optimiser knows of each weight."""

    def edit(contents: dict[str, Any]) -> None:
        for state in contents["optimizer_states"][0]["state"].values():
            state["exp_avg"] = change(state["exp_avg"])

    return edit


def nan_weights(contents: dict[str, Any]) -> None:
    next(iter(contents["state_dict"].values())).fill_(float("nan"))


TOP = ("global_step", "epoch", "optimizer_states", "lr_schedulers", "loops", "callbacks")
BAD_PLACES: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{f"no {key}": without(key) for key in (*TOP, "state_dict", "vae_exp")},
    **{f"no vae_exp.{key}": without("vae_exp", key) for key in ("best", "seconds", "images")},
    "no vae_exp.events": without("vae_exp", "events"),
    "no vae_exp.images.name": without("vae_exp", "images", "name"),
    "no vae_exp.images.test": without("vae_exp", "images", "test"),
    **{f"{key} null": having(None, key) for key in (*TOP, "state_dict", "vae_exp")},
    **{f"{key} a list": having([1], key) for key in (*TOP, "state_dict", "vae_exp")},
    "global_step negative": having(-1, "global_step"),
    "best a text": having("1", "vae_exp", "best"),
    "seconds nan": having(float("nan"), "vae_exp", "seconds"),
    "events of a negative size": having({"events.out.tfevents.0": -1}, "vae_exp", "events"),
    "events of a text": having({"events.out.tfevents.0": "0"}, "vae_exp", "events"),
    "images interpreted": having("${oc.env:HOME}", "vae_exp", "images", "name"),
    "schema a tensor": having(torch.ones(2), "vae_exp", "schema"),
    "loops empty": having({}, "loops"),
    "loops wrong": having({"fit_loop": 3}, "loops"),
    "optimizer empty": having([{}], "optimizer_states"),
    "optimizer of another shape": moments(lambda known: torch.ones(3)),
    "optimizer of one number": moments(lambda known: torch.ones(())),
    "optimizer of one cell": moments(lambda known: torch.ones(1).expand(known.shape)),
    "optimizer of short vectors": moments(lambda known: known[:1] if known.dim() == 1 else known),
    "optimizer of nan": moments(lambda known: known * float("nan")),
    "optimizer of a text": moments(lambda known: "x"),
    "schedule wrong": having([{"last_epoch": "x", "total_steps": None}], "lr_schedulers"),
    "meters gone": without("state_dict", "train_meter.sums"),
    "a weight of integers": lambda contents: contents["state_dict"].update(
        {key: value.long() for key, value in contents["state_dict"].items()}
    ),
    "a weight of nan": nan_weights,
    "a list": lambda contents: [1],
    "a tensor": lambda contents: torch.ones(2),
}


@pytest.mark.thinned(3)
@pytest.mark.sampled(9)
@pytest.mark.parametrize("edit", BAD_PLACES.values(), ids=BAD_PLACES.keys())
def test_a_bad_checkpoint_is_one_line_and_stays_where_it_is(
    edit: Callable[[dict[str, Any]], Any], run: Path
) -> None:
    rewrite(run, edit)
    before = (run / LAST).read_bytes()
    assert str(run / LAST) in resume(run)
    assert (run / LAST).read_bytes() == before


def test_a_checkpoint_of_packed_records_is_not_unpacked(run: Path) -> None:
    with zipfile.ZipFile(run / LAST, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data.pkl", bytes(200 << 20))
    tracemalloc.start()
    try:
        line = refusal("task=samples", f"run={run / LAST}")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "is damaged: its records are packed" in line
    assert most < 50 << 20


PLAN = "schema: 1\nhydra: []\nfixed: []\njobs: "
BAD_PLANS = {
    "a list": "[]",
    "null": "",
    "jobs a number": PLAN + "3",
    "jobs of numbers": PLAN + "[[1]]",
    "jobs of texts": PLAN + "[a]",
    "no jobs": "schema: 1\nhydra: []\nfixed: []\n",
    "schema a text": PLAN.replace("1", "x") + "[]",
    "itself": "schema: 1\nhydra: []\nfixed: []\njobs: &a [*a]\n",
    "exponential": "a: &a [x, x]\nb: &b [*a, *a]\njobs: [*b, *b]\n",
    "deep": "jobs: " + "[" * 20_000,
    "code": "jobs: !!python/object/apply:os.getcwd []",
    "huge number": "schema: " + "1" * 5000,
    "binary": "\x00\x01",
}


@pytest.mark.sampled(9)
@pytest.mark.parametrize("text", BAD_PLANS.values(), ids=BAD_PLANS.keys())
def test_a_bad_plan_of_a_sweep_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / sweeps.JOBS).write_text(text)
    for words in ([f"resume={tmp_path}", "-m"], ["task=summarise", f"sweep={tmp_path}"]):
        assert str(tmp_path / sweeps.JOBS) in refusal(*words)


def chunk(kind: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def png(width: int, height: int, depth: int = 1, body: bytes | None = None) -> bytes:
    """A black picture in few bytes."""
    if body is None:
        body = zlib.compress(bytes((1 + -(-width * depth // 8)) * height), 9)
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", body) + chunk(b"IEND", b"")


BAD_MASKS = {
    "huge": (png(20_000, 20_000), "must be 28 x 28 pixels, got 20000 x 20000"),
    "no pixels": (png(28, 28, body=b""), "is not a PNG"),
    "broken": (png(28, 28, body=b"x" * 50), "is not a PNG"),
    "of no depth": (png(28, 28, depth=7), "is not a PNG"),
    "cut": (png(28, 28)[:40], "is not a PNG"),
    "only its first bytes": (png(28, 28)[:20], "is not a PNG"),
    "empty": (b"", "is not a PNG"),
    "long": (png(28, 28) + bytes(2 << 20), "holds more than"),
}


@pytest.mark.parametrize(("contents", "told"), BAD_MASKS.values(), ids=BAD_MASKS.keys())
def test_a_bad_picture_is_refused_before_it_is_unpacked(
    contents: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(contents)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="mask") as caught:
            visible_pixels(str(path))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert most < 16 << 20


def odd(path: Path, kind: str) -> None:
    """Put something that is not a file in a file's place."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_not_a_file_is_refused_without_waiting_for_it(kind: str, run: Path) -> None:
    mask = run.parent / "mask.png"
    odd(mask, kind)
    with pytest.raises(UserError, match=f"mask.*is a {kind}, not a file"):
        visible_pixels(str(mask))
    odd(run / METRICS, kind)
    assert f"{run / METRICS} is a {kind}, not a file" in look(run)
    odd(run / LAST, kind)
    line = resume(run)
    assert f"is a {kind}, not a file" in line or "leads to /dev/zero" in line
    (run / WEIGHTS).touch()
    job = sweep_of(run)
    assert job.status == sweeps.FAILED
    assert "not a file" in job.error


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_a_sweep_whose_plan_is_not_a_file_is_refused(kind: str, tmp_path: Path) -> None:
    odd(tmp_path / sweeps.JOBS, kind)
    assert str(tmp_path) in refusal("-m", f"resume={tmp_path}")


# What lies outside of a run's folder stays as it is.


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of somebody's, with a file of 800 bytes."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_bytes(b"x" * 800)
    return folder


def untouched(outside: Path) -> bool:
    """Whether nothing came, went or changed there."""
    names = {path.name for path in outside.rglob("*")}
    return names == {"precious"} and (outside / "precious").read_bytes() == b"x" * 800


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_event_files_are_cut_in_the_runs_folder_only(
    link: Callable[[Path, Path], None], run: Path, outside: Path
) -> None:
    (run / WEIGHTS).unlink()
    link(run / EVENTS, outside / "precious")
    rewrite(run, having({EVENTS: 0}, "vae_exp", "events"))
    if link is Path.symlink_to:
        assert f"{run / EVENTS} leads to {outside / 'precious'}, out of {run}" in resume(run)
    else:
        _main([f"resume={run}"])
        assert folders.is_finished(run)
    assert untouched(outside)


@pytest.mark.parametrize("place", ["figures", "checkpoints", "projector", ".hydra"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(
    place: str, run: Path, outside: Path
) -> None:
    if place == ".hydra":
        (run / place / "lock").unlink(missing_ok=True)
        (run / place / "metrics.lock").unlink(missing_ok=True)
        (run / place).rename(run.parent / "theirs")
        (run / place).symlink_to(run.parent / "theirs")
        assert "out of" in resume(run)
        assert not list((run.parent / "theirs").glob("*lock"))
        return
    shutil.rmtree(run / place)
    (run / place).symlink_to(outside)
    line = look(run) if place == "figures" else resume(run)
    assert f"{run / place}/" in line
    assert f"leads to {outside}/" in line
    assert untouched(outside)


@pytest.mark.parametrize("name", ["metrics.json", "checkpoints/previous.ckpt", ".hydra/lock"])
def test_a_link_in_the_place_of_a_file_is_not_followed(name: str, run: Path, outside: Path) -> None:
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside / "precious")
    line = look(run) if name == METRICS else resume(run)
    assert str(run / name) in line
    assert untouched(outside)


@pytest.mark.parametrize("name", ["{}/evil", "../evil", "a/b"])
def test_an_analysis_writes_under_plain_names_only(name: str, run: Path, outside: Path) -> None:
    name = name.format(outside)
    config = OmegaConf.load(run / folders.CONFIG)
    analysis = {"_target_": "vae_exp.analysis.completion.Completion", "name": name}
    OmegaConf.update(config, "task.analyses", {"mine": analysis}, merge=False)
    OmegaConf.save(config, run / folders.CONFIG)
    assert repr(name) in resume(run)
    assert untouched(outside)
    assert not list(run.parent.rglob("evil*"))


def test_a_sweep_that_goes_on_writes_in_its_own_folder_only(tmp_path: Path, outside: Path) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    sweeps.write_plan(sweep, sweeps.Plan([["epochs=1", "data=debug"]]))
    (sweep / "0").symlink_to(outside)
    assert f"{sweep / '0'} leads to {outside}, out of {sweep}" in refusal("-m", f"resume={sweep}")
    assert untouched(outside)
