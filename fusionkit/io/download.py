"""Downloads files through pooch: checked by their hashes, resumed after a broken connection."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fusionkit.errors import FusionkitError
from fusionkit.io.atomic_write import write_error

if TYPE_CHECKING:
    import requests

__all__ = ["Downloader"]

_TRIES = 4
_TIMEOUT = 30
_BLOCK = 1 << 16
_BUSY = 429


class Downloader:
    """Downloads files over one connection; use it as a context manager.

    Args:
        advance: Called with the bytes of a file that are there, and with the size of the whole
            file if the server says it.
        pause: Seconds before the second try; each further try waits twice as long.

    Raises:
        FusionkitError: if pooch is not installed.

    Example:
        >>> import http.server, tempfile, threading
        >>> class Answer(http.server.BaseHTTPRequestHandler):
        ...     def do_GET(self):
        ...         self.send_response(200)
        ...         self.end_headers()
        ...         self.wfile.write(b"pixels")
        ...     def log_message(self, *arguments): pass
        >>> with (
        ...     http.server.HTTPServer(("127.0.0.1", 0), Answer) as server,
        ...     tempfile.TemporaryDirectory() as folder,
        ...     Downloader() as downloader,
        ... ):
        ...     threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        ...     url = f"http://127.0.0.1:{server.server_port}/a.png"
        ...     downloader.fetch(url, Path(folder, "a.png"))
        ...     Path(folder, "a.png").read_bytes()
        ...     server.shutdown()
        b'pixels'
    """

    def __init__(
        self,
        advance: Callable[[int, int | None], None] = lambda done, total: None,
        pause: float = 1.0,
    ):
        try:
            import pooch
            import requests
        except ImportError:
            raise FusionkitError(
                'downloading needs pooch; install it with: pip install "fusionkit-mmif[data]"'
            ) from None
        pooch.get_logger().setLevel(logging.WARNING)
        self._session = requests.Session()
        self._advance, self._pause = advance, pause

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.close()

    def fetch(self, url: str, path: Path, sha256: str | None = None) -> None:
        """Download a file, unless it is there with this hash.

        What a broken download left is kept as ``NAME.part``; the next one goes on from there, if
        the server allows it.

        Args:
            url: Where it is published.
            path: The file to write, in a folder that need not exist.
            sha256: SHA-256 that it must have; None takes whatever comes.

        Raises:
            FusionkitError: if the server can't be reached or does not have the file, if the
                connection breaks off again and again, or if the file has another hash.
            WriteError: if the file can't be written, for instance because the disk is full.
        """
        import pooch
        import requests

        part = path.with_name(f"{path.name}.part")

        def download(url: str, output_file: object, pooch: object) -> None:
            self._with_retries(url, part)
            part.replace(str(output_file))

        resume: Any = download  # pooch types its downloaders by more than it calls
        try:
            pooch.retrieve(url, sha256, path.name, path.parent, downloader=resume)
        except requests.HTTPError as error:
            raise FusionkitError(
                f"{url} can't be downloaded ({error}); it may have moved, see the page of the data "
                f"set"
            ) from None
        except requests.RequestException as error:
            done = part.stat().st_size if part.exists() else 0
            raise FusionkitError(
                f"{url} can't be downloaded: the connection broke off after {done:,} bytes "
                f"({_innermost(error)}); run the same command again to go on from there"
            ) from None
        except ValueError:
            raise FusionkitError(
                f"{url} is not the published file: its SHA-256 is not {sha256}; it was not kept. "
                f"Try again; if the answer is the same, the file was replaced: please report it"
            ) from None
        except OSError as error:
            raise write_error(path, error) from error

    def _with_retries(self, url: str, part: Path) -> None:
        import requests

        for attempt in range(_TRIES):
            try:
                return self._download(url, part)
            except requests.RequestException as error:
                if attempt == _TRIES - 1 or _is_final(error):
                    raise
                time.sleep(self._pause * 2**attempt)
        return None

    def _download(self, url: str, part: Path) -> None:
        """Append to the part of a file what is missing.

        Raises:
            requests.RequestException: if the connection breaks off, or the server refuses.
        """
        import requests

        done = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity"}  # so that bytes are those of the file
        if done:
            headers["Range"] = f"bytes={done}-"
        with self._session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if url.startswith("https:") and not answer.url.startswith("https:"):
                raise requests.ConnectionError(f"it is redirected to {answer.url}, without TLS")
            if answer.status_code == requests.codes.range_not_satisfiable:
                part.unlink(missing_ok=True)  # longer than the file
                raise requests.ConnectionError("what an earlier download left does not fit")
            answer.raise_for_status()
            if done and not _goes_on(answer, done):
                done = 0
            length = answer.headers.get("Content-Length")
            total = done + int(length) if length and length.isdecimal() else None
            with part.open("ab" if done else "wb") as file:
                for block in answer.iter_content(_BLOCK):
                    file.write(block)
                    done += len(block)
                    self._advance(done, total)
        if total is not None and done != total:
            raise requests.ConnectionError(f"{total - done:,} bytes are missing")


def _is_final(error: requests.RequestException) -> bool:
    """Return whether the server refuses, so that asking again is of no use."""
    answer = error.response
    return answer is not None and answer.status_code < 500 and answer.status_code != _BUSY


def _goes_on(answer: requests.Response, done: int) -> bool:
    """Return whether an answer begins where the part of a file ends."""
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return answer.status_code == 206 and found is not None and int(found[1]) == done


def _innermost(error: BaseException) -> str:
    """Return the cause of a fault of the network in one line; requests wraps it several times."""
    while isinstance(error.args[0] if error.args else None, BaseException):
        error = error.args[0]
    reason = getattr(error, "reason", None)
    return " ".join(str(reason or error).split())[:200]
