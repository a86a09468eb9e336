"""Models of the hub: published, fetched, kept in the cache; against a local server."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants
from typer.testing import CliRunner

import fusionkit as fk
from fusionkit.cli import app
from fusionkit.errors import FusionkitError
from fusionkit.io.images import read_image, write_image
from fusionkit.registry.hub import HubReference, fetch_model, parse_reference, push_model
from fusionkit.registry.model_cards import read_model
from fusionkit.registry.weights import read_header

TOKEN = "hf_of_the_owner"

# huggingface_hub uploads files in a way that its HTTP library no longer likes.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=")


class Hub(ThreadingHTTPServer):
    """The part of the hub's API that models need.

    Attributes:
        commits: Commit -> path -> content, of the repository ``owner/night``.
        refs: Branch -> commit.
        private: Whether the repository is private; None before it is created.
        stored: SHA-256 -> content of large files.
        asked: Method and path of each request.
        agents: What the clients said about themselves.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.commits: dict[str, dict[str, bytes]] = {}
        self.refs: dict[str, str] = {}
        self.private: bool | None = None
        self.stored: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.agents: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[oid] = files
        self.refs["main"] = oid
        return oid


class _Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def _send(self, status: int, body: bytes | dict = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _fail(self, status: int, code: str) -> None:
        self._send(status, {"error": code}, X_Error_Code=code, X_Error_Message=code)

    @property
    def _is_owner(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_POST(self) -> None:
        server, path = self.server, self.path.partition("?")[0]
        server.asked.append(f"{self.command} {path}")
        server.agents.add(self.headers.get("User-Agent", ""))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path.startswith("/stored/"):
            server.stored[path.rpartition("/")[2]] = body
            self._send(200)
        elif not self._is_owner:
            self._fail(401, "Unauthorized")
        elif path == "/api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            assert (asked["organization"], asked["name"]) == ("owner", "night")
            status = 200 if server.private is None else 409
            if server.private is None:
                server.private = (
                    asked.get("private") is True or asked.get("visibility") == "private"
                )
                server.commit({".gitattributes": b""})
            self._send(status, {"url": f"{server.url}/owner/night"})
        elif path == "/api/models/owner/night/preupload/main":
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in files
            ]
            self._send(200, {"files": modes})
        elif path == "/owner/night.git/info/lfs/objects/batch":
            objects = [
                {**item, "actions": {"upload": {"href": f"{server.url}/stored/{item['oid']}"}}}
                for item in json.loads(body)["objects"]
            ]
            self._send(200, {"transfer": "basic", "objects": objects})
        elif path == "/api/models/owner/night/commit/main":
            files = dict(server.commits[server.refs["main"]])
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = server.stored[value["oid"]]
            oid = server.commit(files)
            url = f"{server.url}/owner/night/commit/{oid}"
            self._send(200, {"commitUrl": url, "commitOid": oid, "hookOutput": ""})
        else:
            self._fail(404, "NoSuchPath")

    def do_PUT(self) -> None:
        self.do_POST()

    def do_GET(self) -> None:
        server, path = self.server, self.path.partition("?")[0]
        server.asked.append(f"{self.command} {path}")
        server.agents.add(self.headers.get("User-Agent", ""))
        found = re.fullmatch(r"/owner/night/resolve/([^/]+)/(.+)", path)
        if found is None or server.private is None or (server.private and not self._is_owner):
            self._fail(401 if not self._is_owner else 404, "RepoNotFound")
            return
        commit = server.refs.get(found[1], found[1])
        if commit not in server.commits:
            self._fail(404, "RevisionNotFound")
            return
        data = server.commits[commit].get(found[2])
        if data is None:
            self._send(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        etag = hashlib.sha256(data).hexdigest()
        self._send(200, data, ETag=f'"{etag}"', X_Repo_Commit=commit)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


def _move(monkeypatch, url):
    monkeypatch.setattr(constants, "ENDPOINT", url)
    path = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + path)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with the repository ``owner/night``, an empty cache, and the token of the owner."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        _move(monkeypatch, server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def model(write_model, tmp_path):
    return read_model(write_model(tmp_path, terms="Keep off the grass."))


def test_a_published_model_is_the_same_elsewhere(hub, model):
    published = push_model(model, "owner/night")
    assert published == HubReference("owner/night", hub.refs["main"])
    assert hub.private is False
    files = hub.commits[hub.refs["main"]]
    assert files["model.safetensors"] == model.path.read_bytes()
    config = json.loads(files["config.json"])
    assert (config["kind"], config["component"]) == read_header(model.path)
    assert config["card"]["sha256"] == model.card.sha256
    _, head, page = files["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "fusionkit"
    for said in ("Keep off the grass.", model.card.sha256, "hf:owner/night", "0.6123"):
        assert said in page
    found = fetch_model(published)
    assert found.card == model.card.model_copy(update={"weights": "model.safetensors"})
    loaded, own = fk.load(str(published), exact=True), fk.load(model.path, exact=True)
    state = own.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.state_dict().items())


def test_a_model_is_downloaded_once_and_works_without_the_hub(hub, model, logged, monkeypatch):
    published = push_model(model, "owner/night")
    hub.asked.clear()
    hub.agents.clear()
    fk.load("hf:owner/night")
    assert f"model: {published}" in logged
    assert {line.split("/resolve/")[0] for line in hub.asked} == {
        "HEAD /owner/night",
        "GET /owner/night",
    }
    assert all(agent.startswith("fusionkit/") and "torch" not in agent for agent in hub.agents)
    gets = [line for line in hub.asked if line.startswith("GET")]
    assert len(gets) == 2
    fk.load("hf:owner/night")
    assert [line for line in hub.asked if line.startswith("GET")] == gets
    hub.asked.clear()
    fk.load(str(published))  # a commit never changes
    fk.load("hf:owner/night", offline=True)
    assert hub.asked == []
    _move(monkeypatch, "http://127.0.0.1:9")
    fk.load("hf:owner/night")
    for options in ({"offline": True}, {}):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", not options)
        with pytest.raises(FusionkitError, match="not in the cache"):
            fk.load("hf:owner/night@v2", **options)


def test_a_revision_is_one_commit(hub, model, write_model, tmp_path):
    first = push_model(model, "owner/night")
    (tmp_path / "second").mkdir()
    second = push_model(read_model(write_model(tmp_path / "second", "dusk")), "owner/night")
    assert first.revision != second.revision
    assert fetch_model(first).card.name == "small"
    assert fetch_model(HubReference("owner/night")).card.name == "dusk"
    hub.refs["v1"] = first.revision
    assert fetch_model(HubReference("owner/night", "v1")).card.name == "small"
    with pytest.raises(FusionkitError, match="no such revision"):
        fetch_model(HubReference("owner/night", "v3"))


def change_weights(files):
    data = files["model.safetensors"]
    files["model.safetensors"] = data[:-1] + bytes([data[-1] ^ 1])


def change_config(**changes):
    def change(files):
        config = json.loads(files["config.json"])
        config["card"].update(changes)
        files["config.json"] = json.dumps(config).encode()

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_weights, "SHA-256"),
        (lambda files: files.pop("model.safetensors"), r"lacks config\.json or model"),
        (lambda files: files.pop("config.json"), r"lacks config\.json or model"),
        (lambda files: files.update({"config.json": b"{}"}), "no card"),
        (lambda files: files.update({"config.json": b"[" * 100_000}), "no card"),
        (lambda files: files.update({"config.json": b" " * 300_000}), "expected at most"),
        (change_config(weights="../../../etc/passwd"), r"expected the weights model\.safetensors"),
        (change_config(terms=None), "terms"),
    ],
)
def test_what_is_no_model_of_fusionkit_is_refused(hub, model, change, message):
    push_model(model, "owner/night")
    files = dict(hub.commits[hub.refs["main"]])
    change(files)
    hub.commit(files)
    with pytest.raises(FusionkitError, match=message) as error:
        fk.load("hf:owner/night")
    assert "\n" not in str(error.value)


def test_logins(hub, model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    with pytest.raises(FusionkitError, match="hf auth login"):
        push_model(model, "owner/night")
    with pytest.raises(FusionkitError, match="hf auth login"):
        fetch_model(HubReference("owner/night"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push_model(model, "owner/night", private=True)
    assert hub.private is True
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    with pytest.raises(FusionkitError, match="private"):
        fetch_model(HubReference("owner/night"))


def test_weights_that_are_not_those_of_the_card_are_not_published(hub, model):
    model.path.write_bytes(model.path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(FusionkitError, match="SHA-256"):
        push_model(model, "owner/night")
    assert hub.asked == []


@pytest.mark.parametrize("text", ["hf:", "hf:a", "hf:a/b/c", "hf:a/../b", "hf:a/b@", "hf:a/b@-x y"])
def test_names_that_are_none(text):
    with pytest.raises(FusionkitError, match="expected hf:owner/name"):
        parse_reference(text)


def test_names():
    assert parse_reference("a/b") is None
    assert parse_reference("hf:a-b/c.d") == HubReference("a-b/c.d")
    assert str(parse_reference("hf:a/b@refs/pr/1")) == "hf:a/b@refs/pr/1"


def test_the_commands(hub, model, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    pushed = run("models", "push", model.card_path, "owner/night", "--private")
    assert pushed.exit_code == 0, pushed.output
    named = pushed.stdout.strip()
    assert named == f"hf:owner/night@{hub.refs['main']}"
    assert hub.private is True
    for show in (["models", "show"], ["models"]):
        assert "Keep off the grass." in run(*show, named).stdout
    assert run("models").stdout == run("models", "list").stdout
    assert "emma-ir-vis" in run("models").stdout
    noise = np.random.default_rng(0).integers(0, 256, (40, 48), np.uint8)
    for name in ("ir", "vis"):
        write_image(tmp_path / f"{name}.png", noise)
    pair = [tmp_path / "ir.png", tmp_path / "vis.png"]
    for name, weights in (("a.png", named), ("b.png", model.path)):
        fused = run("fuse", *pair, "-o", tmp_path / name, "--model", weights)
        assert fused.exit_code == 0, fused.output
    assert np.array_equal(read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png"))


def test_a_suite_takes_models_from_the_cache_only(hub, model, tmp_path):
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "name: small\ndata: {scenes: {name: scenes, size: 48, train: 2, val: 1}}\n"
        "methods: {night: {weights: 'hf:owner/night'}}\n"
        "tasks: {metrics: {name: fusion-metrics, metrics: [EN]}}\n"
    )
    push_model(model, "owner/night")
    hub.asked.clear()
    found = CliRunner().invoke(app, ["bench", str(suite), "--out", str(tmp_path / "out")])
    assert "fusionkit models hf:owner/night" in str(found.exception)
    assert hub.asked == []
    fetch_model(HubReference("owner/night"))
    hub.asked.clear()
    found = CliRunner().invoke(app, ["bench", str(suite), "--out", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    assert hub.asked == []
