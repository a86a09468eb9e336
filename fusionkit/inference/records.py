"""Records of what was fused, so that a second start skips what is done and unchanged."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fusionkit.io.atomic_write import (
    append_line,
    locked,
    make_folder,
    remove_leftovers,
    write_json,
    write_text,
)
from fusionkit.io.listing import PairFiles

__all__ = ["FOLDER", "OWNER", "Provenance", "Records", "network_digest", "owned"]

FOLDER = ".fusionkit"
"""Folder for records and lock in the output folder; hidden, so it counts as no image."""
OWNER = f"{FOLDER}/owner.json"
"""File in the output folder that says who writes there; only there while somebody does."""


@contextmanager
def owned(out: Path, below: Iterable[Path] = ()) -> Iterator[None]:
    """Own an output folder inside a ``with`` block; what a killed owner left half done is removed.

    Args:
        out: The output folder, which must exist.
        below: Folders below it that get results too; they need not exist.

    Raises:
        FusionkitError: if another process owns it; says which.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, owned(Path(folder)):
        ...     print("alone")
        alone
    """
    folder = out / FOLDER
    make_folder(folder)
    owner = out / OWNER
    with locked(
        folder / "lock",
        busy=f"{out} is being written by {_read_owner(owner)}; wait for "
        "it, or name another output folder",
    ):
        remove_leftovers({out, folder, *below})
        write_json(
            owner,
            {
                "host": socket.gethostname(),
                "process": os.getpid(),
                "since": time.strftime("%Y-%m-%d %H:%M:%S"),
                "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            },
        )
        try:
            yield
        finally:
            with suppress(OSError):  # of a folder that can't be written, an error is under way
                owner.unlink(missing_ok=True)
                remove_leftovers({out, folder, *below})  # of workers that died on another node


def _read_owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return (
            f"process {owner['process']} on {owner['host']} since {owner['since']} "
            f"({owner['command']})"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@dataclass(frozen=True)
class Provenance:
    """Says what a result was made of, in any process that sees the files.

    Attributes:
        out: The output folder.
        settings: Digest of everything but the files that the results depend on.
    """

    out: Path
    settings: bytes

    def line(self, pair: PairFiles, result: Path) -> str:
        """Return the record of a result that was just written."""
        name = result.relative_to(self.out).as_posix()
        return json.dumps([pair.id, name, self.digest(pair, result)])

    def digest(self, pair: PairFiles, result: Path) -> str:
        """Return a digest of settings, sources and result, as they are now."""
        digest = hashlib.sha256(self.settings)
        try:
            for modality, path in sorted([*pair.paths.items(), ("", result)]):
                state = path.stat()
                line = f"{modality} {path.absolute()} {state.st_size} {state.st_mtime_ns}\n"
                digest.update(os.fsencode(line))
        except OSError:
            return "missing"
        return digest.hexdigest()[:32]


class Records:
    """Remembers which results are done, and what they were made of.

    A result is done if it was made of the same files with the same settings, and nobody has
    changed it since; files are compared by size and time of modification.

    Args:
        out: The output folder.
        settings: Everything else that the results depend on, as plain values.

    Attributes:
        provenance: Makes the lines.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source, result = Path(folder, "ir.png"), Path(folder, "fused.png")
        ...     _ = source.write_bytes(b"1"), result.write_bytes(b"2")
        ...     pair = PairFiles("a", {"infrared": source})
        ...     Records(Path(folder), {"stretch": "none"}).add(pair, result)
        ...     again = Records(Path(folder), {"stretch": "none"}).result_of(pair)
        ...     other = Records(Path(folder), {"stretch": "minmax"}).result_of(pair)
        >>> again == result, other
        (True, None)
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]):
        self._out = out
        self._path = out / FOLDER / "done.jsonl"
        text = json.dumps(settings, sort_keys=True)
        self.provenance = Provenance(out, hashlib.sha256(text.encode()).digest())
        self._done = self._read()

    def result_of(self, pair: PairFiles) -> Path | None:
        """Return the result of a pair, or None if it must be fused."""
        name, digest = self._done.get(pair.id, ("", ""))
        path = self._out / name
        return path if name and digest == self.provenance.digest(pair, path) else None

    def add(self, pair: PairFiles, result: Path) -> None:
        """Remember a result that was just written; safe against a kill at any moment."""
        self.append(self.provenance.line(pair, result))

    def append(self, line: str) -> None:
        """Remember a result by its line."""
        make_folder(self._path.parent)
        append_line(self._path, line)

    def _read(self) -> dict[str, tuple[str, str]]:
        done: dict[str, tuple[str, str]] = {}
        count = 0
        with suppress(OSError):
            for line in self._path.read_bytes().splitlines():
                count += 1
                # A kill can leave the last line unfinished; a damaged line counts as not done.
                with suppress(ValueError, TypeError):
                    name, result, digest = json.loads(line)
                    done[str(name)] = str(result), str(digest)
        if count > len(done):
            lines = (json.dumps([name, *values]) + "\n" for name, values in done.items())
            write_text(self._path, "".join(lines))
        return done


def network_digest(network: nn.Module) -> str:
    """Return a digest of a network: its structure, arguments and weights.

    Args:
        network: Any module; components that were built by name contribute their arguments.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> network_digest(layer) == network_digest(layer)
        True
    """
    digest = hashlib.sha256(repr(network).encode())
    for module in network.modules():
        spec = getattr(module, "spec", None)
        if spec is not None:
            digest.update(json.dumps(spec.to_dict(), sort_keys=True, default=str).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        if isinstance(tensor, torch.Tensor):
            array = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            digest.update(array.tobytes())
    return digest.hexdigest()
