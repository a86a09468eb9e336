"""Published data sets: cards, downloads from a local server, checks, and how recipes find them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
import yaml
from PIL import Image

import fusionkit as fk
from fusionkit.errors import FusionkitError, WriteError
from fusionkit.io.data_folder import data_folder, find_data
from fusionkit.registry.data_cards import ArchiveDownload, read_data_card
from fusionkit.registry.data_check import check_data
from fusionkit.registry.data_download import get_data
from fusionkit.registry.plugins import load_installed_plugins, load_plugins

KNOWN = load_installed_plugins().data
NAMES = ("a b.png", "c.png")


def png(seed, side=40):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.fixture
def base(tmp_path, monkeypatch):
    """The folder of the data sets."""
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path / "sets"))
    return tmp_path / "sets"


@pytest.fixture
def publish(file_server, tmp_path):
    """Return a function that publishes two pairs and gives what their card says."""

    def publish(archive=False, side=40, **changes):
        images = {
            f"{folder}/{name}": png(10 * k + n, side)
            for k, folder in enumerate(("IR images", "VIS"))
            for n, name in enumerate(NAMES)
        }
        local = {path: path.replace("IR images", "ir").replace("VIS", "vi") for path in images}
        if archive:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
                for path, data in images.items():
                    made.writestr(f"top/{path}", data)
                made.writestr("top/README.md", "words")
            file_server.files["/top.zip"] = file.getvalue()
            folders = {"ir": "top/IR images", "vi": "top/VIS"}
            download = {"archive": f"{file_server.url}/top.zip", "folders": folders}
        else:
            file_server.files |= {f"/1/{path}": data for path, data in images.items()}
            sums = (f"{hashlib.sha256(images[p]).hexdigest()}  {local[p]}\n" for p in images)
            (tmp_path / "small.sha256").write_text("".join(sums))
            download = {
                "base": f"{file_server.url}/1/",
                "folders": {"ir": "IR images", "vi": "VIS"},
                "checksums": "small.sha256",
                "bytes": sum(map(len, images.values())),
            }
        card = {
            "name": "small",
            "title": "Small",
            "summary": "Two pairs.",
            "paper": "None",
            "home": file_server.url,
            "terms": "Keep off the grass.",
            "folder": "Small",
            "parts": [{"data": {"name": "paired-folders"}, "scenes": 2}],
            "download": download,
            **changes,
        }
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in card.items() if v is not None}))
        return path

    return publish


class Steps:
    """What a progress bar receives."""

    def __init__(self):
        self.total, self.done = None, 0

    def expect(self, total):
        self.total = total

    def step(self, values=None):
        self.done += 1


def hidden(base):
    return {path.name for path in base.iterdir() if path.name != ".download-small.lock"} - {"Small"}


def test_single_files_are_downloaded_checked_and_found(publish, base):
    published, steps = read_data_card(publish()), Steps()
    assert get_data(published, steps, pause=0) == base / "Small"
    assert (steps.total, steps.done) == (4, 4)
    assert sorted(p.name for p in (base / "Small" / "ir").iterdir()) == sorted(NAMES)
    assert hidden(base) == set()
    registry = load_installed_plugins().registry
    assert len(check_data(published, base / "Small", registry)) == 2
    assert find_data("Small") == find_data("small") == base / "Small"
    with pytest.raises(FusionkitError, match="exists already"):
        get_data(published, pause=0)


def test_a_wrong_file_stops_the_download_and_the_others_are_kept(publish, base, file_server):
    published = read_data_card(publish())
    good = file_server.files["/1/VIS/c.png"]
    file_server.files["/1/VIS/c.png"] = png(99)
    with pytest.raises(FusionkitError, match=r"VIS/c\.png is not the published file"):
        get_data(published, pause=0)
    assert not published.target.exists()
    file_server.files["/1/VIS/c.png"] = good
    file_server.asked.clear()
    # A killed download leaves files of other names.
    (base / ".download-small" / "files" / "vi" / "tmp123").touch()
    get_data(published, pause=0)
    assert [path for path, _ in file_server.asked] == ["/1/VIS/c.png"]
    assert not (base / "Small" / "vi" / "tmp123").exists()


@pytest.mark.parametrize("archive", [False, True])
def test_a_broken_connection_goes_on_in_the_next_command(publish, base, file_server, archive):
    published = read_data_card(publish(archive, side=400))
    path = "/top.zip" if archive else "/1/VIS/a b.png"
    file_server.cuts[path] = [100_000, 10, 10, 10]
    with pytest.raises(FusionkitError, match="run the same command again"):
        get_data(published, pause=0)
    assert not published.target.exists()
    get_data(published, pause=0)
    assert file_server.asked[-1 if archive else -2][1] is not None
    check_data(published, base / "Small", load_installed_plugins().registry)


def test_a_disk_that_is_too_small_is_told_before(publish, base, file_server, monkeypatch):
    usage = shutil.disk_usage("/")
    published = read_data_card(publish())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(WriteError, match="lacks space"):
        get_data(published, pause=0)
    assert file_server.asked == []
    published = read_data_card(publish(archive=True))  # its size is known when it is there
    with pytest.raises(WriteError, match="lacks space"):
        get_data(published, pause=0)
    assert not published.target.exists()
    monkeypatch.undo()
    monkeypatch.setenv("FUSIONKIT_DATA", str(base))
    get_data(published, pause=0)


def test_an_archive_with_an_unknown_checksum_is_recorded(publish, base, file_server):
    published = read_data_card(publish(archive=True))
    get_data(published, Steps(), pause=0)
    assert sorted(p.name for p in (base / "Small" / "vi").iterdir()) == sorted(NAMES)
    assert [path.name for path in (base / "Small").iterdir() if path.is_file()] == []
    assert hidden(base) == {".checksums.json"}
    sha256 = hashlib.sha256(file_server.files["/top.zip"]).hexdigest()
    url = f"{file_server.url}/top.zip"
    assert json.loads((base / ".checksums.json").read_text()) == {url: sha256}
    shutil.rmtree(base / "Small")
    get_data(published, pause=0)
    shutil.rmtree(base / "Small")
    file_server.files["/top.zip"] += b"x"
    with pytest.raises(FusionkitError, match=sha256):
        get_data(published, pause=0)


def spoil_end(data):
    return data[:-30]


def spoil_pixels(data):
    return data[:200] + bytes(50) + data[250:]


@pytest.mark.parametrize("spoil", [spoil_end, spoil_pixels, lambda data: b"<html>"])
def test_a_damaged_archive_is_removed(publish, base, file_server, spoil):
    published = read_data_card(publish(archive=True))
    good = file_server.files["/top.zip"]
    file_server.files["/top.zip"] = spoil(good)
    with pytest.raises(FusionkitError, match="damaged"):
        get_data(published, pause=0)
    assert not published.target.exists()
    file_server.files["/top.zip"] = good
    get_data(published, pause=0)


def test_an_archive_writes_only_into_its_folders(publish, base, file_server):
    published = read_data_card(publish(archive=True))
    file = io.BytesIO(file_server.files["/top.zip"])
    with zipfile.ZipFile(file, "a") as made:
        made.writestr("top/VIS/../../../../out.png", b"x")
    file_server.files["/top.zip"] = file.getvalue()
    with pytest.raises(FusionkitError, match="outside"):
        get_data(published, pause=0)
    assert not list(base.parent.rglob("out.png"))
    card = publish(archive=True)
    card.write_text(card.read_text().replace("top/VIS", "top/RGB"))
    with pytest.raises(FusionkitError, match="no folder top/RGB"):
        get_data(read_data_card(card), pause=0)


def remove(folder):
    (folder / "vi" / NAMES[0]).unlink()


def change(folder):
    (folder / "ir" / NAMES[1]).write_bytes(png(5))


@pytest.mark.parametrize(("harm", "message"), [(remove, "missing: vi/"), (change, "ones: ir/")])
def test_a_check_names_the_files(publish, base, harm, message):
    published = read_data_card(publish())
    harm(get_data(published, pause=0))
    with pytest.raises(FusionkitError, match=message):
        check_data(published, base / "Small", load_installed_plugins().registry)


def test_a_check_counts_the_scenes(publish, base):
    published = read_data_card(publish(archive=True))
    folder = get_data(published, pause=0)
    for modality in ("ir", "vi"):
        (folder / modality / NAMES[0]).unlink()
    with pytest.raises(FusionkitError, match=r"expected 2 scenes .* found 1"):
        check_data(published, folder, load_installed_plugins().registry)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terms": None}, "terms"),
        ({"by_hand": "on a drive"}, "either download or by_hand"),
        ({"folder": "../up"}, "folder"),
        ({"download": {"archive": "file:///etc/passwd", "folders": {"a": "b"}}}, "download"),
    ],
)
def test_wrong_cards_are_refused(publish, changes, message):
    with pytest.raises(FusionkitError, match=message):
        read_data_card(publish(**changes))


@pytest.mark.parametrize("line", ["0" * 64 + "  up/a.png", "short  ir/a.png", "0" * 64 + "  ir/"])
def test_wrong_lists_of_checksums_are_refused(publish, tmp_path, line):
    published = read_data_card(publish())
    (tmp_path / "small.sha256").write_text(line)
    with pytest.raises(FusionkitError, match=r"small\.sha256:1"):
        published.files()


def test_a_plugin_brings_data_sets_and_names_are_unique(publish, make_plugin):
    card = publish()
    code = (
        "from pathlib import Path\nfrom fusionkit import hookimpl\n"
        f"@hookimpl\ndef fusionkit_data():\n    return [Path({str(card)!r})]\n"
    )
    plugins = load_plugins([make_plugin("one", code), make_plugin("two", code)])
    assert plugins.data["small"].card.title == "Small"
    assert "two data sets are called small" in (plugins.found[1].error or "")


@pytest.mark.parametrize("name", KNOWN)
def test_the_installed_cards_are_complete(name):
    published = KNOWN[name]
    registry = load_installed_plugins().registry
    for part in published.card.parts:
        assert part.data["name"] in registry.names("dataset")
        assert part.scenes
    assert published.urls()
    for file in published.files():
        assert " " not in file.url
    if isinstance(published.card.download, ArchiveDownload):
        assert set(published.card.download.folders) >= {"train", "test"}


@pytest.mark.parametrize("name", ["tno", "roadscene", "harvard"])
def test_the_checksums_are_those_of_real_images(name, data_root):
    there = [file for file in KNOWN[name].files() if (data_root / name / file.path).is_file()]
    assert len(there) >= 20
    for file in there[:20]:
        data = (data_root / name / file.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file.sha256


def test_the_folder_of_data_sets(monkeypatch, tmp_path):
    monkeypatch.delenv("FUSIONKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "fusionkit" / "data"
    with pytest.raises(FusionkitError, match="fusionkit data get msrs"):
        find_data("MSRS")
    with pytest.raises(FusionkitError, match="fusionkit data get msrs"):
        fk.build("dataset", name="msrs")


def folders_of(base, *folders):
    for k, folder in enumerate(folders):
        (base / folder).mkdir(parents=True)
        for n, name in enumerate(NAMES):
            (base / folder / name).write_bytes(png(10 * k + n))


def test_pairs_are_found_by_name(base):
    folders_of(base, "tno/ir", "tno/vi", "RoadScene/ir", "RoadScene/vi")
    folders_of(base, "harvard/mri_pet/mri", "harvard/mri_pet/pet")
    named = {"modalities": ("infrared", "visible")}
    for name in ("tno", "roadscene"):
        data = fk.build("dataset", name=name, patch=32, **named)
        assert [data.id(k) for k in range(2)] == ["a b", "c"]
        assert len(data.patches([0])) == 1
    folder = base / "harvard" / "mri_pet"
    for modalities in (("mri", "pet"), ("partner", "mri")):
        data = fk.build("dataset", name="harvard", pair="mri-pet", modalities=modalities)
        other = next(name for name in modalities if name != "mri")
        assert data.files(0) == {"mri": folder / "mri" / NAMES[0], other: folder / "pet" / NAMES[0]}
    with pytest.raises(FusionkitError, match="paired-folders"):
        fk.build("dataset", name="harvard", pair="mri-pet", **named)


def test_downloading_without_pooch_says_what_to_install(publish, base, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(FusionkitError, match=r"fusionkit-mmif\[data\]"):
        get_data(read_data_card(publish()), pause=0)
    assert os.environ["FUSIONKIT_DATA"] == str(base)
