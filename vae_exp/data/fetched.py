"""Data sets of known files: each is on disk, or comes whole and verified from a mirror."""

import contextlib
import errno
import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from vae_exp.atomic import write_atomically
from vae_exp.data.contracts import Images, Source
from vae_exp.data.download import DownloadError, download, probe
from vae_exp.data.idx import idx_size, inflate, parse_idx, read_idx_bytes, stored_limit
from vae_exp.errors import UserError
from vae_exp.folders import locked

TIMEOUT = 10.0
DEADLINE = 300.0
ATTEMPTS = 2


class Unavailable(UserError):
    """A file is not on disk and cannot be had from a mirror; `reason` leaves out what to do."""

    def __init__(self, reason: str, of: str) -> None:
        super().__init__(
            f"{reason}: put {of}'s files there, set data.root (or VAE_EXP_DATA) to a folder that "
            "holds them, or use data.source=digits"
        )
        self.reason = reason


@dataclass(frozen=True)
class KnownFile:
    """An idx file: its name, the array in it, the SHA-256 of its uncompressed bytes, its set."""

    name: str
    shape: tuple[int, ...]
    sha256: str
    of: str = "MNIST"


class KnownFiles(Source):
    """A data set of four idx files, in `root` if it is given, else below the folder of all data.

    Each file is obtained as by `obtain`, with its errors. Nothing is fetched into a folder that
    holds a file with one of their names that is not theirs.
    """

    files: ClassVar[Mapping[str, tuple[KnownFile, KnownFile]]]  # images and labels
    mirrors: Sequence[str]
    folder: ClassVar[str] = ""  # below that of all data

    def __init__(
        self,
        root: Path | None = None,
        *,
        mirrors: Sequence[str] | None = None,
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
    ) -> None:
        self.root = data_root(None) / self.folder if root is None else data_root(root)
        self.counts = {part: images.shape[0] for part, (images, _) in self.files.items()}
        if mirrors is not None:
            self.mirrors = mirrors
        self.timeout = timeout
        self.deadline = deadline

    def training(self) -> Images:
        """The images of the training files."""
        return self._part("training")

    def test(self) -> Images:
        """Those of the test files."""
        return self._part("test")

    def below(self, root: Path) -> Self:
        """With its files in another folder."""
        limits = {"timeout": self.timeout, "deadline": self.deadline}
        return type(self)(root, mirrors=self.mirrors, **limits)

    def _part(self, part: str) -> Images:
        raw = {file: _on_disk(self.root, file) for file in self.files[part]}
        if None in raw.values():
            for file in itertools.chain(*self.files.values()):
                _refuse_strangers(self.root, file)
        for file, content in raw.items():
            if content is None:
                raw[file] = obtain(
                    self.root,
                    file,
                    mirrors=self.mirrors,
                    timeout=self.timeout,
                    deadline=self.deadline,
                )
        images, labels = (
            parse_idx(content, file.name, file.shape) for file, content in raw.items() if content
        )
        return Images(images, labels, f"{part} images")


def data_root(root: str | Path | None) -> Path:
    """The folder of all data: `root`, else $VAE_EXP_DATA, else `data`."""
    if root is None:
        root = os.environ.get("VAE_EXP_DATA") or "data"
    if not str(root):
        raise UserError("data.root must name a folder, got ''")
    return Path(root).expanduser()


def obtain(
    root: Path, file: KnownFile, *, mirrors: Sequence[str], timeout: float, deadline: float
) -> bytes:
    """The uncompressed bytes of `file`, verified, from `root` or else from a mirror.

    A file that `root` lacks comes from the first of `mirrors` that answers within `timeout`
    seconds and delivers within `deadline`, and is kept in `root`. Raises Unavailable if it
    cannot be had, and UserError if a file of that name is another one, which is left alone.
    """
    raw = _on_disk(root, file)
    if raw is not None:
        return raw
    _refuse_strangers(root, file)
    try:
        return _fetch(root, file, mirrors=mirrors, timeout=timeout, deadline=deadline)
    except OSError as error:
        reason = f"the folder cannot be written: {error.strerror or error}"
    except DownloadError as error:
        reason = str(error)
    raise Unavailable(
        f"{file.name} is not in {str(root)!r} and cannot be fetched ({reason})", file.of
    )


def _on_disk(root: Path, file: KnownFile) -> bytes | None:
    """The uncompressed bytes in the first good file; None if there is none."""
    for path in _present(root, file):
        with contextlib.suppress(UserError):
            return _read(path, file)
    return None


def _refuse_strangers(root: Path, file: KnownFile) -> None:
    """Raise UserError if a file of that name is another one."""
    for path in _present(root, file):
        try:
            _read(path, file)
        except UserError as error:
            raise UserError(
                f"{error}; it is damaged or of another set, such as Fashion-MNIST, and is left "
                "alone: delete it, or set data.root (or VAE_EXP_DATA) to another folder"
            ) from error


def _present(root: Path, file: KnownFile) -> list[Path]:
    paths = (root / file.name, root / f"{file.name}.gz")
    return [path for path in paths if os.path.lexists(path)]


def _read(path: Path, file: KnownFile) -> bytes:
    raw = read_idx_bytes(path, file.shape)
    _check_sha256(raw, str(path), file)
    return raw


def _check_sha256(raw: bytes, name: str, file: KnownFile) -> None:
    found = hashlib.sha256(raw).hexdigest()
    if found != file.sha256:
        raise UserError(
            f"{name} is not {file.of}'s: its uncompressed bytes have SHA-256 {found[:12]}…, "
            f"expected {file.sha256[:12]}…"
        )


def _fetch(
    root: Path, file: KnownFile, *, mirrors: Sequence[str], timeout: float, deadline: float
) -> bytes:
    """Download, verify and keep `file`; a second process that asks for it waits and reads it."""
    if root.exists() and not os.access(root, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    # Asked before the lock, so that many processes without a network do not wait in a queue.
    reachable = _reachable(mirrors, file, timeout=timeout)
    root.mkdir(parents=True, exist_ok=True)
    patience = len(mirrors) * ATTEMPTS * deadline
    taken = f"another process has been fetching {file.of} into {root} for over {patience:.0f} s"
    with locked(root, ".mnist.lock", taken, patience):
        raw = _on_disk(root, file)
        if raw is None:
            stored, raw = _from_mirrors(reachable, file, timeout=timeout, deadline=deadline)
            _refuse_strangers(root, file)  # which may have come in the meantime
            write_atomically(root, file.name if stored == raw else f"{file.name}.gz", stored)
        return raw


def _reachable(mirrors: Sequence[str], file: KnownFile, *, timeout: float) -> Sequence[str]:
    reasons = []
    for index, mirror in enumerate(mirrors):
        try:
            probe(_url(mirror, file), timeout=timeout)
        except DownloadError as error:
            reasons.append(f"{mirror} {error}")
        else:
            return mirrors[index:]
    raise DownloadError("; ".join(reasons) or "no mirror to ask", transient=False)


def _from_mirrors(
    mirrors: Sequence[str], file: KnownFile, *, timeout: float, deadline: float
) -> tuple[bytes, bytes]:
    """The bytes that a mirror served and the same uncompressed and verified."""
    reasons: dict[str, str] = {}
    left = list(mirrors)
    for _ in range(ATTEMPTS):
        again = []
        for mirror in left:
            url = _url(mirror, file)
            try:
                stored = download(
                    url, limit=stored_limit(file.shape), timeout=timeout, deadline=deadline
                )
                raw = inflate(stored, "what it sent", limit=idx_size(file.shape))
                parse_idx(raw, "what it sent", file.shape)
                _check_sha256(raw, "what it sent", file)
            except DownloadError as error:
                reasons[mirror] = str(error)
                again += [mirror] if error.transient else []
            except UserError as error:
                reasons[mirror] = str(error)
                again.append(mirror)
            else:
                return stored, raw
        left = again
    raise DownloadError("; ".join(f"{m} {why}" for m, why in reasons.items()), transient=False)


def _url(mirror: str, file: KnownFile) -> str:
    return f"{mirror.rstrip('/')}/{file.name}.gz"
