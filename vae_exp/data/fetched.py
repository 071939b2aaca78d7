"""Data sets of known files: each is on disk, or comes whole and verified from a mirror."""

import contextlib
import errno
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from vae_exp import files
from vae_exp.atomic import write_atomically
from vae_exp.data.contracts import Images, Source
from vae_exp.data.download import DownloadError, download, probe
from vae_exp.data.known import KnownFile
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


class KnownFiles(Source):
    """A data set of known files, in a folder of its own below `root` or that of all data.

    If `root` itself holds a file with one of their names, it is their folder. Each file is obtained
    as by `obtain`, with its errors. Nothing is fetched into a folder that holds a file with one of
    their names that is not theirs.
    """

    files: ClassVar[Mapping[str, tuple[KnownFile, ...]]]
    mirrors: Sequence[str]
    folder: ClassVar[str] = ""

    def __init__(
        self,
        root: Path | None = None,
        *,
        mirrors: Sequence[str] | None = None,
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
    ) -> None:
        base = data_root(root)
        names = [name for file in self._all() for name in _names(file)]
        inside = root is not None and any(os.path.lexists(base / name) for name in names)
        self.root = base if inside else base / self.folder
        self.counts = {
            part: sum(file.shape[0] for file in files if len(file.shape) > 1)
            for part, files in self.files.items()
        }
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

    def _all(self) -> list[KnownFile]:
        return list(itertools.chain(*self.files.values()))

    def _part(self, part: str) -> Images:
        """The images of a part, and the labels if a file holds some."""
        raw = {file: _on_disk(self.root, file) for file in self.files[part]}
        if None in raw.values():
            for file in self._all():
                _refuse_strangers(self.root, file)
        limits: dict[str, Any] = {"timeout": self.timeout, "deadline": self.deadline}
        for file, content in raw.items():
            if content is None:
                raw[file] = obtain(self.root, file, mirrors=self.mirrors, **limits)
        return self._images(part, [file.array(content or b"") for file, content in raw.items()])

    def _images(self, part: str, arrays: list[Any]) -> Images:
        images, labels = arrays
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
                f"{error}; it is damaged or of another set, such as {_another(file)}, and is left "
                "alone: delete it, or set data.root (or VAE_EXP_DATA) to another folder"
            ) from error


def _another(file: KnownFile) -> str:
    return "Fashion-MNIST" if file.of == "MNIST" else "MNIST"


def _names(file: KnownFile) -> list[str]:
    """What it may be called on the disk."""
    return list(dict.fromkeys((file.name, file.served)))


def _present(root: Path, file: KnownFile) -> list[Path]:
    paths = [root / name for name in _names(file)]
    return [path for path in paths if os.path.lexists(path)]


def _read(path: Path, file: KnownFile) -> bytes:
    return file.verified(files.read(path, file.limit), str(path))


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
    with locked(root, f".{file.of.lower()}.lock", taken, patience):
        raw = _on_disk(root, file)
        if raw is None:
            stored, raw = _from_mirrors(reachable, file, timeout=timeout, deadline=deadline)
            _refuse_strangers(root, file)  # which may have come in the meantime
            write_atomically(root, file.name if stored == raw else file.served, stored)
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
                stored = download(url, limit=file.limit, timeout=timeout, deadline=deadline)
                raw = file.verified(stored, "what it sent")
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
    return f"{mirror.rstrip('/')}/{file.served}"
