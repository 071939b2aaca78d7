"""A disk that is full, read-only or gone: one line, and nothing that was good is lost."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kill_and_resume import LAST, new_run, only_run, small_config, train, wait_until
from omegaconf import OmegaConf
from warm import Forked, start

from vae_exp import folders
from vae_exp.atomic import write_atomically
from vae_exp.cli.main import _main
from vae_exp.errors import UserError
from vae_exp.runs.weights import load_checkpoint

pytestmark = pytest.mark.thinned(2)

LONG = ("epochs=100000", "task.checkpoint_seconds=0.05")


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder on a disk of 8 MiB, or of as much as the test asks for."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = getattr(request, "param", "8m")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def one_line(process: Forked) -> str:
    """The single line with which a process failed."""
    _, err = process.communicate()
    assert process.returncode == 2, err
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    return err


def has_saved(cwd: Path) -> bool:
    """Whether a run has saved two checkpoints, one of them as the best."""
    run = only_run(cwd)
    names = ("previous.ckpt", "best.ckpt")
    return run is not None and all((run / "checkpoints" / name).exists() for name in names)


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_good_checkpoint_and_no_half_file(small_disk: Path) -> None:
    process = start(small_disk, *new_run(*LONG))
    assert wait_until(process, lambda: has_saved(small_disk))
    fill(small_disk)
    line = one_line(process)
    run = only_run(small_disk)
    assert run is not None
    assert "No space left on device" in line
    assert f"the last good checkpoint is {run / LAST}, from which resume={run} goes on" in line
    assert load_checkpoint(run / LAST)["global_step"] > 0
    assert load_checkpoint(run / "checkpoints" / "best.ckpt")["global_step"] > 0
    assert not list(run.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "small_disk", ["24k", "100k", "500k", "800k", "1000k", "1200k"], indirect=True
)
def test_a_disk_that_fills_up_in_the_midst_of_a_file_is_one_line(small_disk: Path) -> None:
    run = small_disk / "run"
    (run / ".hydra").mkdir(parents=True)
    with pytest.raises(UserError, match="No space left on device") as caught:
        train(run, "epochs=3")
    assert "\n" not in str(caught.value)
    assert str(run) in str(caught.value)
    assert not list(run.rglob("*.tmp"))
    for checkpoint in run.glob("checkpoints/*"):
        assert load_checkpoint(checkpoint)["global_step"] > 0
    kept = "the last good checkpoint is" if (run / LAST).exists() else "it has no checkpoint yet"
    assert kept in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("small_disk", ["4k"], indirect=True)
def test_a_disk_without_room_for_a_config_is_one_line_and_leaves_no_folder(
    small_disk: Path,
) -> None:
    line = one_line(start(small_disk, *new_run("epochs=1")))
    assert "No space left on device" in line
    assert not list(small_disk.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 20_000])
def test_a_file_that_grows_beyond_what_is_allowed_is_one_line(size: int, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "vae_exp", *new_run("epochs=1", "data.source=digits")]
    done = subprocess.run(
        words,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_full_disk_leaves_metrics_and_pictures_whole_or_absent(small_disk: Path) -> None:
    write_atomically(small_disk, "metrics.json", b'{"schema": 1}')
    fill(small_disk)
    for name in ("metrics.json", "samples.png"):
        with pytest.raises(OSError, match=f"No space left on device: '.*/{name}'"):
            write_atomically(small_disk, name, bytes(1 << 16))
    assert json.loads((small_disk / "metrics.json").read_text()) == {"schema": 1}
    assert {path.name for path in small_disk.iterdir()} == {"metrics.json", "ballast"}


@pytest.mark.slow
def test_a_folder_that_vanishes_is_named_and_not_made_again(tmp_path: Path) -> None:
    process = start(tmp_path, *new_run(*LONG))
    assert wait_until(process, lambda: has_saved(tmp_path))
    run = only_run(tmp_path)
    assert run is not None
    run.rename(tmp_path / "moved")
    line = one_line(process)
    assert str(run) in line
    assert "No such file or directory" in line
    assert line.endswith("its folder is gone, and its checkpoints with it\n")
    assert not run.exists()
    assert load_checkpoint(tmp_path / "moved" / LAST)["global_step"] > 0


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_named_and_left_as_it_was(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_disk / "outputs" / "day" / "time"
    run.mkdir(parents=True)
    train(run)
    without_hydra = OmegaConf.masked_copy(
        small_config(),
        ["data", "model", "prior", "likelihood", "posterior", "batch_size", "seed", "latent_dim"],
    )
    (run / ".hydra" / "config.yaml").write_text(OmegaConf.to_yaml(without_hydra))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    line = one_line(start(small_disk, *new_run("epochs=1")))
    assert "cannot make the folder outputs" in line
    assert "Read-only file system" in line
    told = f"cannot write in {run}: Read-only file system"
    with pytest.raises(UserError, match=told), folders.hold(run):
        pass
    monkeypatch.chdir(small_disk)
    with pytest.raises(UserError, match=r"outputs/day/time/.*: Read-only file system"):
        _main(["task=samples", "run=latest"])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
