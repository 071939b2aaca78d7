"""MNIST's files come whole and verified, from the disk or a mirror, or not at all."""

import gzip
import hashlib
import itertools
import os
import pty
import stat
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from vae_exp.data import load_splits
from vae_exp.data.fetched import KnownFile, Unavailable, obtain
from vae_exp.data.sources.auto import Auto
from vae_exp.data.sources.mnist import FILES, Mnist
from vae_exp.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[1]
SHAPE = (100, 28, 28)
RAW = (
    bytes((0, 0, 8, 3))
    + struct.pack(">3I", *SHAPE)
    + np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8).tobytes()
)
PACKED = gzip.compress(RAW, mtime=0)
NAME = "train-images-idx3-ubyte"
FILE = KnownFile(NAME, SHAPE, hashlib.sha256(RAW).hexdigest())

FLIPPED = bytearray(RAW)
FLIPPED[5000] ^= 1
BODIES = {
    "flipped": gzip.compress(FLIPPED),
    "html": b"<html><body>log in to the network first</body></html>",
    "bomb": gzip.compress(bytes(20_000_000)),
    "empty": b"",
    "unpacked": RAW,
}


class Mirror(BaseHTTPRequestHandler):
    """The first part of the path says how it behaves: /good/NAME.gz, /404/NAME.gz, …"""

    server: "Server"

    def do_HEAD(self) -> None:
        self.server.probed.append(self.path)
        if self.server.starters:
            self.server.starters.wait(timeout=60)
        if self.path.startswith("/silent"):
            self.server.closing.wait()
        else:
            self._begin()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.meanwhile()
        how = self.path.split("/")[1]
        if how.isdigit():
            self.send_error(int(how))
        elif how == "first500" and len(self.server.asked) == 1:
            self.send_error(500)
        elif how == "drip":  # for ten seconds
            self._begin()
            for byte in PACKED[:500]:
                self.wfile.write(bytes([byte]))
                self.server.closing.wait(0.02)
        elif how == "endless":
            self._begin()
            while not self.server.closing.is_set():
                self.wfile.write(PACKED)
        elif how in ("drop", "long", "short"):
            kept = {"drop": len(PACKED) // 2, "long": len(PACKED), "short": len(PACKED)}[how]
            claimed = {"drop": len(PACKED), "long": 2 * len(PACKED), "short": 5000}[how]
            self._send(PACKED[:kept], claimed)
        elif how == "real":
            body = (self.server.real / self.path.split("/")[2]).read_bytes()
            self._send(body, len(body))
        elif how == "nonsense":
            self._send(PACKED, "many")
        else:
            body = BODIES.get(how, PACKED)
            self._send(body, len(body))

    def _begin(self) -> None:
        self.send_response(200)
        self.end_headers()

    def _send(self, body: bytes, length: int | str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are kept in `server.asked`."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mirror)
        self.probed: list[str] = []
        self.asked: list[str] = []
        self.closing = threading.Event()
        self.starters: threading.Barrier | None = None
        self.real = Path()
        self.meanwhile: Callable[[], object] = lambda: None

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gives up is what some of these tests are about."""

    def mirrors(self, *behaviours: str) -> list[str]:
        return [f"http://127.0.0.1:{self.server_port}/{how}/" for how in behaviours]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as started:
        threading.Thread(target=started.serve_forever, args=(0.01,), daemon=True).start()
        yield started
        started.closing.set()
        started.shutdown()


def fetch(root: Path, mirrors: list[str], *, timeout: float = 5.0, deadline: float = 30.0) -> bytes:
    return obtain(root, FILE, mirrors=mirrors, timeout=timeout, deadline=deadline)


def contents(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {".mnist.lock"}


def test_a_missing_file_is_fetched_once_and_then_read_from_disk(tmp_path: Path, server: Server):
    root = tmp_path / "a new folder" / "数据"
    assert fetch(root, server.mirrors("good")) == RAW
    assert (root / f"{NAME}.gz").read_bytes() == PACKED
    assert fetch(root, []) == RAW
    assert server.asked == [f"/good/{NAME}.gz"]
    assert contents(root) == {f"{NAME}.gz"}


def test_a_mirror_that_serves_the_file_unpacked_is_as_good(tmp_path: Path, server: Server):
    assert fetch(tmp_path, server.mirrors("unpacked")) == RAW
    assert contents(tmp_path) == {NAME}
    assert fetch(tmp_path, []) == RAW


REASONS = {
    "403": "answered 403",
    "404": "answered 404",
    "500": "answered 500",
    "silent": "silent for 1 s",
    "drip": "silent for 1 s",
    "drop": "dropped the connection",
    "long": "dropped the connection",
    "short": "truncated",
    "nonsense": "gave no sensible answer",
    "flipped": "is not MNIST's: its uncompressed bytes have SHA-256",
    "html": "web page",
    "bomb": "holds more than",
    "empty": "is empty",
    "endless": "sent more than",
}


def patience(fault: str) -> float:
    return 1.0 if "silent" in REASONS[fault] else 10.0


@pytest.mark.parametrize("fault", REASONS)
def test_after_a_faulty_mirror_comes_the_next(tmp_path: Path, server: Server, fault: str):
    assert fetch(tmp_path, server.mirrors(fault, "good"), timeout=patience(fault)) == RAW
    assert contents(tmp_path) == {f"{NAME}.gz"}


@pytest.mark.parametrize(("fault", "reason"), REASONS.items())
def test_where_every_mirror_is_faulty_one_line_says_why_and_what_to_do(
    tmp_path: Path, server: Server, fault: str, reason: str
):
    with pytest.raises(Unavailable) as refusal:
        fetch(tmp_path, server.mirrors(fault), timeout=patience(fault))
    text = str(refusal.value)
    assert reason in text
    assert NAME in text
    assert str(tmp_path) in text
    assert server.mirrors(fault)[0] in text
    assert "data.source=digits" in text
    assert "\n" not in text
    assert not contents(tmp_path)


def test_a_body_that_trickles_in_without_end_is_left_at_the_deadline(
    tmp_path: Path, server: Server
):
    with pytest.raises(Unavailable, match=r"not done within 0\.5 s"):
        fetch(tmp_path, server.mirrors("drip"), timeout=60.0, deadline=0.5)


def test_what_may_pass_is_tried_again_and_what_will_not_is_not(tmp_path: Path, server: Server):
    assert fetch(tmp_path, server.mirrors("first500")) == RAW
    server.asked.clear()
    with pytest.raises(Unavailable):
        fetch(tmp_path / "other", server.mirrors("404", "drop"))
    assert [path.split("/")[1] for path in server.asked] == ["404", "drop", "drop"]


def test_a_name_that_nobody_resolves_and_a_port_that_nobody_serves_are_no_connection(
    tmp_path: Path,
):
    with pytest.raises(Unavailable) as refusal:
        fetch(tmp_path / "new", ["http://nobody.invalid/", "http://127.0.0.1:9/"], timeout=3.0)
    assert "http://127.0.0.1:9/ no connection" in str(refusal.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", [FLIPPED, RAW[:-1], b"", PACKED[:-9], BODIES["html"]])
@pytest.mark.parametrize("name", [NAME, f"{NAME}.gz"])
def test_a_file_under_mnists_name_that_is_not_mnists_is_left_alone(
    tmp_path: Path, server: Server, name: str, damage: bytes
):
    (tmp_path / name).write_bytes(damage)
    with pytest.raises(UserError, match="left alone: delete it, or set data") as refusal:
        fetch(tmp_path, server.mirrors("good"))
    assert not isinstance(refusal.value, Unavailable)
    assert str(tmp_path / name) in str(refusal.value)
    assert "Fashion-MNIST" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert (tmp_path / name).read_bytes() == damage
    assert contents(tmp_path) == {name}
    assert not server.probed + server.asked


@pytest.mark.parametrize("source", [Auto, Mnist])
def test_another_set_under_mnists_names_is_neither_read_nor_mixed_with_mnist(
    tmp_path: Path, server: Server, source: type[Auto | Mnist]
):
    _, labels = FILES["test"]  # of the part that is not needed: the folder is of another set
    theirs = gzip.compress(bytes((0, 0, 8, 1)) + struct.pack(">I", 10_000) + bytes(10_000))
    (tmp_path / f"{labels.name}.gz").write_bytes(theirs)
    with pytest.raises(UserError, match=r"t10k-labels.*is not MNIST's.*another folder"):
        load_splits(source=source(tmp_path, mirrors=server.mirrors("good")))
    assert contents(tmp_path) == {f"{labels.name}.gz"}
    assert (tmp_path / f"{labels.name}.gz").read_bytes() == theirs
    assert not server.probed + server.asked


def test_a_file_that_comes_while_another_is_fetched_is_not_overwritten(
    tmp_path: Path, server: Server
):
    theirs = tmp_path / f"{NAME}.gz"
    server.meanwhile = lambda: theirs.write_bytes(b"theirs")
    with pytest.raises(UserError, match="left alone"):
        fetch(tmp_path, server.mirrors("good"))
    assert theirs.read_bytes() == b"theirs"
    assert contents(tmp_path) == {theirs.name}


@pytest.mark.parametrize("odd", ["pipe", "folder", "device", "dangling"])
def test_what_is_not_a_file_is_refused_without_waiting_for_it(tmp_path: Path, odd: str):
    path = tmp_path / NAME
    if odd == "pipe":
        os.mkfifo(path)
    elif odd == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/zero", "dangling": tmp_path / "nowhere"}[odd])
    what = "cannot be read: No such file" if odd == "dangling" else f"is a {odd}, not a file"
    with pytest.raises(UserError, match=f"{NAME} {what}"):
        fetch(tmp_path, [])


def test_a_good_file_beside_a_bad_one_is_taken_without_a_network(tmp_path: Path):
    (tmp_path / NAME).write_bytes(FLIPPED)
    (tmp_path / f"{NAME}.gz").write_bytes(PACKED)
    assert fetch(tmp_path, []) == RAW


def test_what_a_killed_process_left_behind_does_no_harm(tmp_path: Path, server: Server):
    (tmp_path / f".{NAME}.gz.0.tmp").write_bytes(b"half")
    (tmp_path / ".mnist.lock").touch()
    assert fetch(tmp_path, server.mirrors("good")) == RAW
    assert (tmp_path / f"{NAME}.gz").read_bytes() == PACKED


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """This process, root or not, may not write to `folder`, which becomes the working folder."""
    before = Path.cwd()
    folder.chmod(0o555)
    os.chdir(folder)  # nobody may enter the folders above it
    root = os.geteuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)
        os.chdir(before)
        folder.chmod(0o755)


def test_a_good_file_in_a_read_only_folder_is_just_read(tmp_path: Path):
    (tmp_path / f"{NAME}.gz").write_bytes(PACKED)
    with read_only(tmp_path):
        assert fetch(Path(), []) == RAW


def test_a_missing_file_in_a_read_only_folder_is_not_asked_for(tmp_path: Path, server: Server):
    expected = pytest.raises(Unavailable, match="folder cannot be written: Permission denied")
    with read_only(tmp_path), expected:
        fetch(Path(), server.mirrors("good"))
    assert not server.probed + server.asked


def test_a_root_that_is_a_file_is_refused_by_name(tmp_path: Path, server: Server):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match=r"file' and cannot be fetched .*cannot be written"):
        fetch(tmp_path / "file", server.mirrors("good"))


def test_a_fetched_file_can_be_read_by_whom_the_umask_allows(tmp_path: Path, server: Server):
    previous = os.umask(0o022)
    try:
        fetch(tmp_path, server.mirrors("good"))
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / f"{NAME}.gz").stat().st_mode) == 0o644


PROCESS = """
import hashlib, sys
from pathlib import Path
from vae_exp.data import load_splits
from vae_exp.data.fetched import KnownFile, obtain
root, mirror, name, sha256 = sys.argv[1:]
file = KnownFile(name, (100, 28, 28), sha256)
raw = obtain(Path(root), file, mirrors=[mirror], timeout=60.0, deadline=60.0)
print(hashlib.sha256(raw).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_on_an_empty_folder_both_end_with_good_data_from_one_download(
    tmp_path: Path, server: Server
):
    server.starters = threading.Barrier(2)  # neither goes on before both have found it empty
    command = [
        sys.executable,
        "-c",
        PROCESS,
        tmp_path,
        server.mirrors("good")[0],
        NAME,
        FILE.sha256,
    ]
    both = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in both] == 2 * [FILE.sha256]
    assert server.asked == [f"/good/{NAME}.gz"]
    assert contents(tmp_path) == {f"{NAME}.gz"}


@pytest.mark.slow
def test_a_progress_bar_is_drawn_on_a_terminal_and_nowhere_else(tmp_path: Path, server: Server):
    mirror = server.mirrors("good")[0]
    command = [sys.executable, "-c", PROCESS, tmp_path / "a", mirror, NAME, FILE.sha256]
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(stderr, (24, 80))
    os.set_blocking(terminal, False)
    subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=stderr, check=True)
    drawn = os.read(terminal, 100_000).decode()
    os.close(stderr)
    os.close(terminal)
    assert NAME in drawn
    assert "78.5k" in drawn  # of so many bytes
    command[3] = tmp_path / "b"
    quiet = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert quiet.stderr == ""


def test_images_and_labels_of_different_number_are_refused(tmp_path: Path, mnist: Path):
    images, labels = FILES["test"]
    for file in (images, labels):
        packed = (mnist / f"{file.name}.gz").read_bytes()
        (tmp_path / f"{file.name}.gz").write_bytes(packed)
    raw = gzip.decompress((tmp_path / f"{labels.name}.gz").read_bytes())
    short = raw[:4] + struct.pack(">I", 9_999) + raw[8:-1]
    (tmp_path / f"{labels.name}.gz").write_bytes(gzip.compress(short))
    with pytest.raises(UserError, match=r"t10k-labels.* holds an array of 9,999, expected 10,000"):
        Mnist(tmp_path, mirrors=[]).test()


def test_a_damaged_file_is_named_even_where_another_is_missing(tmp_path: Path):
    _, labels = FILES["test"]
    (tmp_path / labels.name).write_bytes(b"not labels")
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte is not an idx file") as refusal:
        Mnist(tmp_path, mirrors=[]).test()
    assert not isinstance(refusal.value, Unavailable)


def test_auto_fetches_the_files_that_the_protocol_needs_and_is_mnist(
    tmp_path: Path, server: Server, mnist: Path, caplog: pytest.LogCaptureFixture
):
    server.real = mnist
    splits = load_splits(source=Auto(tmp_path, mirrors=server.mirrors("403", "real")))
    assert (splits.source.name, splits.notice) == ("mnist", None)
    assert contents(tmp_path) == {f"{file.name}.gz" for file in FILES["training"]}
    assert len(server.asked) == 4
    again = load_splits(source=Mnist(tmp_path, mirrors=[]))
    assert again.test.sha256 == splits.test.sha256
    assert not caplog.records


def test_real_mnist_is_what_everybody_calls_mnist(mnist: Path):
    images = Mnist(mnist, mirrors=[]).test()
    pixels, labels = images.pixels, images.labels
    assert pixels.shape == (10_000, 28, 28)
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert pixels.mean() / 255 == pytest.approx(0.13251, abs=1e-5)
    names = [file.name for file in itertools.chain(*FILES.values())]
    assert len(set(names)) == 4
