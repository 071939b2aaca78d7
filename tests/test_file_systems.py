"""What a file system cannot do, or does in its own way: a run goes on, or says in a line why not.

A small library stands in for such file systems: it answers some calls as they do.
"""

import ast
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from kill_and_resume import LAST, WEIGHTS, new_run, only_run, train

from vae_exp.atomic import copy_atomically, write_atomically
from vae_exp.runs.metrics import read_metrics, write_metrics

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int answer(const char *call) {
    const char *number = getenv(call);
    return number ? atoi(number) : 0;
}

int fsync(int fd) {
    struct stat found;
    int no = answer("SHIM_FSYNC");
    if (no && !fstat(fd, &found) && S_ISDIR(found.st_mode)) { errno = no; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(fd);
}

int flock(int fd, int operation) {
    int no = answer("SHIM_FLOCK");
    if (no) { errno = no; return -1; }
    return ((int (*)(int, int)) dlsym(RTLD_NEXT, "flock"))(fd, operation);
}

static int of_weights(int fd) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = fd < 0 ? -1 : readlink(link, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = 0;
    return strstr(name, ".safetensors") != NULL;
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    int no = answer("SHIM_MMAP");
    if (no && of_weights(fd)) { errno = no; return MAP_FAILED; }
    return ((void *(*)(void *, size_t, int, int, int, off_t)) dlsym(RTLD_NEXT, "mmap"))
        (at, size, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    return mmap(at, size, protection, flags, fd, offset);
}
"""
EINVAL, ENODEV, ENOSYS, EOPNOTSUPP = "22", "19", "38", "95"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    library = folder / "shim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, folder / "shim.c", "-ldl"], check=True
    )
    return library


def vae_exp(
    cwd: Path, *words: str, variables: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """A command with variables of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vae_exp", *words],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.thinned(3)
@pytest.mark.slow
@pytest.mark.parametrize("no_lock", [ENOSYS, EOPNOTSUPP])
def test_a_file_system_without_locks_mapping_and_synchronised_folders_will_do(
    no_lock: str, shim: Path, tmp_path: Path
) -> None:
    variables = {
        "LD_PRELOAD": str(shim),
        "SHIM_FSYNC": EINVAL,
        "SHIM_FLOCK": no_lock,
        "SHIM_MMAP": ENODEV,
    }
    words = new_run("epochs=1", "data.source=digits", "~task.analyses.scatter")
    trained = vae_exp(tmp_path, *words, variables=variables)
    assert trained.returncode == 0, trained.stderr
    run = only_run(tmp_path)
    assert run is not None
    assert trained.stderr.count("on a file system without locks") == 1
    # What a killed process left behind is no lock.
    for name in ("lock", "metrics.lock"):
        (run / ".hydra" / name).write_text("999999\nsomewhere\n")
    (run / WEIGHTS).unlink()
    resumed = vae_exp(tmp_path, f"resume={run}", variables=variables)
    assert resumed.returncode == 0, resumed.stderr
    looked = vae_exp(tmp_path, "task=samples", f"run={run}", variables=variables)
    assert looked.returncode == 0, looked.stderr
    assert "samples" in read_metrics(run)["analyses"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_files_follow_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        (tmp_path / ".hydra").mkdir()
        train(tmp_path, "epochs=1", "data.source=digits")
    finally:
        os.umask(before)
    modes = {
        path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()
    }
    assert {tmp_path / WEIGHTS, tmp_path / LAST, tmp_path / "metrics.json"} <= modes.keys()
    assert modes == dict.fromkeys(modes, mode)


def test_two_names_of_one_file_leave_no_third(tmp_path: Path) -> None:
    last, previous = Path("last.ckpt"), Path("previous.ckpt")
    write_atomically(tmp_path, last, b"checkpoint")
    for _ in range(2):
        copy_atomically(tmp_path, last, previous)
        assert (tmp_path / previous).read_bytes() == b"checkpoint"
        assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "previous.ckpt"}


def test_a_working_folder_that_was_deleted_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"rmdir {gone}; exec {sys.executable} -m vae_exp --help"
    done = subprocess.run(["sh", "-c", script], cwd=gone, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the working folder cannot be used: No such file")
    assert done.stderr.count("\n") == 1


def test_a_file_is_read_as_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    write_metrics(tmp_path, {"data": {**DATA, "notice": "8×8 → 28×28"}})
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    script = (
        "import locale, sys; from pathlib import Path\n"
        "from vae_exp.runs.metrics import read_metrics\n"
        "assert locale.getpreferredencoding(False) == 'ANSI_X3.4-1968'\n"
        "found = read_metrics(Path(sys.argv[1]))['data']['notice']\n"
        "assert found == '8\\u00d78 \\u2192 28\\u00d728'"
    )
    subprocess.run(
        [sys.executable, "-c", script, tmp_path], env={**os.environ, **ascii_only}, check=True
    )


def test_every_text_file_is_opened_as_utf_8() -> None:
    root = Path(__file__).resolve().parents[1]
    unnamed = []
    for path in [*root.glob("vae_exp/**/*.py"), *root.glob("benchmarks/**/*.py")]:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = getattr(call.func, "attr", getattr(call.func, "id", None))
            keys = {key.arg for key in call.keywords}
            modes = [each.value for each in call.args if isinstance(each, ast.Constant)]
            text = name in ("read_text", "write_text") or "text" in keys
            if name == "open" and ast.unparse(call.func) not in (
                "os.open",
                "Image.open",
                "archive.open",
            ):
                text = not any("b" in str(mode) for mode in modes)
            if text and "encoding" not in keys:
                unnamed.append(f"{path.relative_to(root)}:{call.lineno}: {name}")
    assert unnamed == []


DATA = {"name": "digits", "split": "test", "images": 1, "binarization": "threshold", "sha256": "a"}
