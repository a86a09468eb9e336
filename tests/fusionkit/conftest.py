"""Plugins made up by tests."""

from __future__ import annotations

import importlib.metadata
import logging
import multiprocessing
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import yaml

import fusionkit as fk
from fusionkit.io.hashes import file_hash
from fusionkit.registry.plugins import GROUP
from fusionkit_scenes.dataset import Scenes

MakePlugin = Callable[[str, str], importlib.metadata.EntryPoint]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep listings that tests make out of the user's cache, and the user's out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def make_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePlugin]:
    """Return a function that writes a module and gives the entry point of it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def make(name: str, code: str) -> importlib.metadata.EntryPoint:
        (tmp_path / f"{name}.py").write_text(code)
        made.append(name)
        return importlib.metadata.EntryPoint(f"plugin-{name}", name, GROUP)

    yield make
    for name in made:
        sys.modules.pop(name, None)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Collect the messages for users that are logged during a test."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("fusionkit")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)


class FileServer(ThreadingHTTPServer):
    """Serves what a test puts in ``files``, with the faults that it asks for.

    Attributes:
        files: Path -> content.
        cuts: Path -> numbers of bytes after which the next answers break off.
        ranges: Whether parts of files are served.
        asked: Path and Range of each request.
    """

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that break off a connection are part of the tests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[str, bytes] = {}
        self.cuts: dict[str, list[int]] = {}
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, wanted = unquote(self.path), self.headers.get("Range")
        self.server.asked.append((path, wanted))
        data = self.server.files.get(path)
        if data is None:
            self.send_error(404)
            return
        begin = int(re.sub(r"\D", "", wanted)) if wanted and self.server.ranges else 0
        if begin >= len(data) > 0:
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        cuts = self.server.cuts.get(path)
        self.wfile.write(data[begin : begin + cuts.pop(0)] if cuts else data[begin:])
        if cuts is not None:
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    """A web server on this machine."""
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def write_model() -> Callable[..., Path]:
    """Return a function that writes a tiny model with its card and gives the card."""

    def write(folder: Path, name: str = "small", **changes: object) -> Path:
        """Write a tiny U-Fuser with its card; return the card."""
        network = fk.build(
            "backbone", name="ufuser", channels=[4, 8], heads=4, modalities=("infrared", "visible")
        )
        weights = folder / f"{name}.safetensors"
        fk.save(network, weights)
        card = {
            "name": name,
            "summary": "A U-Fuser of two scales.",
            "modalities": ["infrared", "visible"],
            "weights": weights.name,
            "sha256": file_hash(weights),
            "data": "none, random weights",
            "terms": "as the code",
            "training": "none",
            "metrics": {"TNO": {"EN": 6.5, "VIF": 0.6123}},
            "limits": ["It has learned nothing."],
            **changes,
        }
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in card.items() if v is not None}))
        return path

    return write


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of all five stages that takes a second or two."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(
        """\
name: tiny
data: {name: scenes, size: 48, train: 2, val: 1}
teacher: [{name: average}]
sensors:
  infrared: {name: unet, width: 2}
  visible: {name: unet, width: 2}
backbone: {name: ufuser, channels: [4, 8], heads: 4}
transforms: [{name: reflect, count: 1}]
losses: [{name: sensing}]
stages:
  - {name: train-sensors, epochs: 2, batch_size: 2, crop: 32}
  - {name: train-backbone, epochs: 1, batch_size: 2, crop: 32}
  - {name: fuse}
  - {name: evaluate}
  - {name: report}
"""
    )
    return path


@pytest.fixture(scope="module")
def scene() -> dict[str, np.ndarray]:
    """A rendered pair, whose sensors disagree on everything but geometry."""
    images = Scenes(size=192, train=1)[0].images
    return {m: np.rint(x[0].numpy() * 255).astype(np.uint8) for m, x in images.items()}


@pytest.fixture(scope="session")
def call_elsewhere() -> Callable[..., Any]:
    """Return a function that calls another one in a fresh process, as the test runner has threads.

    It returns what the other one returns, or the name of the signal that ended the process.
    """
    context = multiprocessing.get_context("forkserver")
    # The server is one for all tests; these are the modules that its processes work with.
    modules = ["fusionkit.runs.pipeline", "fusionkit.benchmark.bench", "fusionkit_emma"]
    context.set_forkserver_preload([*modules, "fusionkit_scenes.dataset", "torch.utils.data"])

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(sender, function, *arguments))
        process.start()
        sender.close()
        try:
            return receiver.recv()
        except EOFError:
            process.join()
            return signal.Signals(-(process.exitcode or 0)).name

    return call


def _send(sender: Connection, function: Callable[..., Any], *arguments: Any) -> None:
    sender.send(function(*arguments))
