"""No hostile file makes a command open a connection.

Python's audit events show what Python does, here and in a child process. A server on this machine
shows whether anything else connects: hostile files point to it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tifffile
import torch
from safetensors.torch import save_file

import fusionkit as fk
from fusionkit.inference.openvino_export import export_openvino
from fusionkit.io.images import write_image
from fusionkit.registry.weights import FORMAT

SOURCES = ["--source", "infrared=infrared", "--source", "visible=visible"]
HOOK = """\
import os, sys
_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_busy = False
def watch(event, arguments, report=None):
    global _busy
    local = event == "socket.connect" and not isinstance(arguments[1], tuple)  # a file
    if event in _EVENTS and not local and not _busy:
        _busy = True
        try:
            report(f"{event} {arguments[1:]}")
        finally:
            _busy = False
"""
SITE = (
    HOOK
    + """
def note(line):
    with open(os.environ["CONNECTIONS"], "a") as file:
        file.write(line + "\\n")
sys.addaudithook(lambda event, arguments: watch(event, arguments, note))
"""
)


class Watch:
    """Collects connections of this process while it is on."""

    def __init__(self) -> None:
        self.on, self.seen = False, []
        space: dict = {}
        exec(HOOK, space)
        sys.addaudithook(
            lambda event, arguments: self.on and space["watch"](event, arguments, self)
        )

    def __call__(self, line: str) -> None:
        self.seen.append(line)


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()  # a hook stays for the rest of the process


@pytest.fixture
def address(watch) -> Iterator[str]:
    """The address of a server that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        watch.on, watch.seen = True, []
        yield f"127.0.0.1:{server.getsockname()[1]}"
        watch.on = False
        assert watch.seen == []
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_connection_would_be_seen(watch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        watch.on, watch.seen = True, []
        socket.create_connection(server.getsockname()).close()
        watch.on = False
    assert watch.seen


@pytest.fixture
def folders(tmp_path, noise, monkeypatch, address) -> Path:
    """Make folders whose images refer to the server in many ways."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path / "sets"))  # where nothing is
    link = f"http://{address}/x"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{link}"/></svg>'
    for modality in ("infrared", "visible"):
        folder = tmp_path / modality
        folder.mkdir()
        write_image(folder / "good.png", noise[..., 0])
        write_image(folder / f"http:{address}.png", noise[..., 0])
        (folder / "drawing.png").write_text(svg)
        (folder / "drawing.tif").write_text(f'<!DOCTYPE a SYSTEM "{link}">' + svg)
        xmp = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "{link}">]><a>&b;</a>'.encode()
        tifffile.imwrite(
            folder / "described.tif", noise[..., 0], description=link,
            extratags=[(700, 1, len(xmp), xmp, True)],
        )  # fmt: skip
    for modality in ("infrared", "visible"):
        (tmp_path / modality / "drawing.tif").rename(tmp_path / modality / "drawn.tif")
    return tmp_path


def test_fuse_metrics_and_audit(folders, ends_well, address):
    assert ends_well("fuse", "--backbone", "average", "-o", "out", *SOURCES) == 2  # the drawings
    assert (folders / "out" / "described.tif").is_file()
    ends_well("metrics", "--metric", "EN", "--fused", "out", *SOURCES)
    for modality in ("infrared", "visible"):
        (folders / modality / "drawing.png").unlink()
        (folders / modality / "drawn.tif").unlink()
    audit = ["audit", "--backbone", "average", "--transform", "reflect", "--count", "1", *SOURCES]
    ends_well(*audit)
    link = f"http://{address}/a.png"
    (folders / "pairs.csv").write_text(f"infrared,visible\n{link},{link}\n")
    assert ends_well("fuse", "--backbone", "average", "-o", "o", "--pairs", "pairs.csv") == 2


def test_videos_and_models(folders, ends_well, address):
    link = f"http://{address}/a"
    (folders / "a.mp4").write_text(f"#EXTM3U\n#EXTINF:9,\n{link}.ts\n")
    (folders / "b.mkv").write_text(f"ffconcat version 1.0\nfile {link}.mkv\n")
    (folders / "c.ts").write_text(f"<MPD><Period><BaseURL>{link}</BaseURL></Period></MPD>")
    for name in ("a.mp4", "b.mkv", "c.ts"):
        both = ["--source", f"infrared={name}", "--source", f"visible={name}"]
        assert ends_well("fuse", "--backbone", "average", "-o", "o.mp4", *both) == 2
    component = {"name": "timm-unet", "encoder": "resnet18", "pretrained": True}
    metadata = {"format": FORMAT, "kind": "backbone", "component": json.dumps(component)}
    save_file({"a": torch.zeros(1)}, folders / "m.safetensors", metadata)
    (folders / "m.xml").write_text(f'<!DOCTYPE net SYSTEM "{link}.dtd"><net name="x"></net>')
    (folders / "m.bin").touch()
    for model in ("m.safetensors", "m.xml", link, f"{link}.onnx"):
        assert ends_well("fuse", "--model", model, "-o", "o", *SOURCES) == 2, model


RECIPES = [
    "backbone={name: folder, root: LINK}",
    "data={name: paired-folders, sources: {infrared: LINK, visible: LINK}}",
    "data={name: roadscene}",
    "teacher=[{name: folder, root: LINK}]",
    "weights=LINK",
    "backbone={name: ufuser, init: LINK}",
    "backbone=LINK",
]


def test_runs(folders, tiny_recipe, ends_well, address):
    link = f"https://{address}/x.safetensors"
    quick = "stages=[{name: fuse}, {name: evaluate, metrics: [EN]}, {name: report}]"
    for override in RECIPES:
        assert ends_well("run", tiny_recipe, quick, override.replace("LINK", link)) == 2, override
    assert ends_well("run", link) == 2
    untrained = ["backbone=average", "sensors={}", "teacher=[]", "losses=[]", "transforms=[]"]
    assert ends_well("run", tiny_recipe, quick, *untrained) == 0


def test_suites(folders, ends_well, address):
    link = f"https://{address}/x.safetensors"
    data = "name: small\ndata: {scenes: {name: scenes, size: 48, train: 2, val: 1}}\n"
    metrics = "tasks: {metrics: {name: fusion-metrics, metrics: [EN]}}\n"
    suites = {
        "weights": f"methods: {{a: {{weights: '{link}'}}}}\n" + metrics,
        "hub": "methods: {a: {weights: 'hf:owner/night@v1'}}\n" + metrics,
        "recipe": f"methods: {{a: {{recipe: '{link}'}}}}\n" + metrics,
        "folder": f"methods: {{a: {{backbone: {{name: folder, root: '{link}'}}}}}}\n" + metrics,
        "detection": "methods: {a: {source: visible}}\n"
        f"tasks: {{boxes: {{name: detection, model: '{link}'}}}}\n",
    }
    for name, text in suites.items():
        (folders / f"{name}.yaml").write_text(data + text)
        assert ends_well("bench", f"{name}.yaml") == 2, name
    assert ends_well("bench", link) == 2


def test_a_process_of_its_own(tmp_path, noise, address):
    """What libraries do when they are imported is seen too."""
    export_openvino(
        fk.build("backbone", name="average"), tmp_path / "m.xml", ["infrared", "visible"]
    )
    write_image(tmp_path / "a.png", noise[..., 0])
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    seen = tmp_path / "seen"
    command = [sys.executable, "-m", "fusionkit", "fuse", "--model", "m.xml", "-o", "out.png",
               "--source", "infrared=a.png", "--source", "visible=a.png"]  # fmt: skip
    path = os.pathsep.join([str(tmp_path / "site"), *(p for p in sys.path if p)])
    environment = {**os.environ, "PYTHONPATH": path, "CONNECTIONS": str(seen)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    assert (tmp_path / "out.png").is_file()
    assert not seen.exists(), seen.read_text()
    connect = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    subprocess.run([sys.executable, "-c", connect], env=environment, check=True)
    assert seen.exists()
