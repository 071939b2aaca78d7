"""One URL to bytes, within a stated time whatever the server or the name resolver does."""

import queue
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

_CHUNK = 4096


class DownloadError(Exception):
    """Why a URL gave nothing, in a few words; `transient` if a second try may help."""

    def __init__(self, reason: str, *, transient: bool) -> None:
        super().__init__(reason)
        self.transient = transient


def probe(url: str, *, timeout: float) -> None:
    """Ask for the head of `url`; any HTTP answer will do.

    Raises DownloadError if none comes for `timeout` seconds.
    """

    def head(abandoned: threading.Event, deliver: Callable[[bytes], None]) -> None:
        from pooch import HTTPDownloader

        HTTPDownloader(timeout=timeout)(url, None, None, check_only=True)

    _collect(head, limit=0, timeout=timeout, deadline=2 * timeout)


def download(url: str, *, limit: int, timeout: float, deadline: float) -> bytes:
    """The body of `url`, at most `limit` bytes; a progress bar if stderr is a terminal.

    Raises DownloadError if nothing comes for `timeout` seconds (to connect, to answer, for the
    next 4 kB), if the whole takes longer than `deadline` seconds, and if the server refuses,
    drops the connection or sends more than `limit` bytes.
    """
    bar = _progress_bar(url.rpartition("/")[2])

    def get(abandoned: threading.Event, deliver: Callable[[bytes], None]) -> None:
        from pooch import HTTPDownloader

        fetch = HTTPDownloader(
            progressbar=bar,
            chunk_size=_CHUNK,
            timeout=timeout,
            headers={"Accept-Encoding": "identity"},
        )
        fetch(url, _Sink(abandoned, deliver), None)

    try:
        return _collect(get, limit=limit, timeout=timeout, deadline=deadline)
    finally:
        if bar is not None:
            bar.close()


class _Sink:
    """What pooch writes a body to: hands each chunk on, and stops once nobody waits for it."""

    def __init__(self, abandoned: threading.Event, deliver: Callable[[bytes], None]) -> None:
        self._abandoned = abandoned
        self._deliver = deliver

    def write(self, chunk: bytes) -> int:
        if self._abandoned.is_set():
            raise DownloadError("abandoned", transient=False)
        self._deliver(chunk)
        return len(chunk)

    def flush(self) -> None:
        """Chunks are handed on at once."""


def _collect(
    work: Callable[[threading.Event, Callable[[bytes], None]], None],
    *,
    limit: int,
    timeout: float,
    deadline: float,
) -> bytes:
    # A socket's timeout covers neither name resolution nor a body that drips, so the work is done
    # in a thread that can be left behind.
    events: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()
    abandoned = threading.Event()

    def run() -> None:
        try:
            work(abandoned, events.put)
        except Exception as error:  # noqa: BLE001 - a thread's exception belongs to who waits for it
            events.put(error)
        else:
            events.put(None)

    threading.Thread(target=run, daemon=True).start()
    ends = time.monotonic() + deadline
    body = bytearray()
    try:
        while True:
            left = ends - time.monotonic()
            try:
                # The socket's own timeout comes first if both would do: its reason is better.
                event = events.get(timeout=max(0.0, min(timeout + 0.5, left)))
            except queue.Empty:
                if left <= timeout:
                    reason = f"not done within {deadline:g} s"
                else:
                    reason = f"silent for {timeout:g} s"
                raise DownloadError(reason, transient=False) from None
            if event is None:
                return bytes(body)
            if isinstance(event, Exception):
                raise _as_download_error(event, len(body), timeout) from event
            body += event
            if len(body) > limit:
                raise DownloadError(f"sent more than {limit:,} bytes", transient=False)
    finally:
        abandoned.set()


def _as_download_error(error: Exception, received: int, timeout: float) -> Exception:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        return DownloadError(f"answered {status}", transient=status >= 500)
    if isinstance(error, requests.Timeout):
        return DownloadError(f"silent for {timeout:g} s", transient=False)
    if received or isinstance(error, requests.exceptions.ChunkedEncodingError):
        return DownloadError(
            f"dropped the connection after {received:,} bytes or more", transient=True
        )
    if isinstance(error, requests.ConnectionError):
        return DownloadError("no connection", transient=False)
    if isinstance(error, OSError | ValueError | HTTPException):
        return DownloadError(f"gave no sensible answer ({error})", transient=False)
    return error


def _progress_bar(name: str) -> Any:
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm  # type: ignore[import-untyped]

    return tqdm(total=1, desc=name, unit="B", unit_scale=True, leave=False)
