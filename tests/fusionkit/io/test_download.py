"""Downloads from a local server: hashes, broken connections, a full disk."""

from __future__ import annotations

import hashlib
import resource

import pytest

from fusionkit.errors import FusionkitError, WriteError
from fusionkit.io.download import Downloader

DATA = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(file_server):
    file_server.files["/a.bin"] = DATA
    return file_server


def fetch(server, path, sha256=SHA256, name="a.bin", **options):
    with Downloader(pause=0, **options) as downloader:
        downloader.fetch(f"{server.url}/{name}", path, sha256)


def test_a_file_is_downloaded_once(server, tmp_path):
    seen = []
    fetch(
        server, tmp_path / "new" / "a.bin", advance=lambda done, total: seen.append((done, total))
    )
    assert (tmp_path / "new" / "a.bin").read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    fetch(server, tmp_path / "new" / "a.bin")
    assert len(server.asked) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.bin"]


def test_a_file_that_is_not_the_published_one_is_not_kept(server, tmp_path):
    server.files["/a.bin"] = DATA[::-1]
    with pytest.raises(FusionkitError, match=SHA256):
        fetch(server, tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []
    fetch(server, tmp_path / "a.bin", None)  # where nothing is known, anything is taken
    server.files["/a.bin"] = DATA
    fetch(server, tmp_path / "a.bin")  # a file with another hash is replaced
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_broken_connection_is_taken_up_again(server, tmp_path):
    server.cuts["/a.bin"] = [200_000, 150_000, len(DATA)]
    fetch(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA
    begins = [int(asked[6:-1]) if asked else 0 for _, asked in server.asked]
    assert begins[0] == 0
    assert 0 < begins[1] <= 200_000
    assert begins[1] < begins[2] <= 350_000


def test_a_connection_that_breaks_again_and_again_is_one_sentence(server, tmp_path):
    server.cuts["/a.bin"] = [100_000] * 4
    with pytest.raises(FusionkitError, match="run the same command again") as error:
        fetch(server, tmp_path / "a.bin")
    assert "\n" not in str(error.value)
    (part,) = tmp_path.iterdir()
    done = part.stat().st_size
    assert 0 < done <= 400_000
    assert DATA.startswith(part.read_bytes())
    fetch(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert server.asked[-1] == ("/a.bin", f"bytes={done}-")


def test_a_server_that_serves_no_parts_starts_anew(server, tmp_path):
    server.ranges = False
    server.cuts["/a.bin"] = [300_000, len(DATA)]
    fetch(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA


@pytest.mark.parametrize("left", [DATA[:70_000], DATA, DATA + b"more", b"x" * 70_000])
def test_what_an_earlier_download_left_never_spoils_the_file(server, tmp_path, left):
    (tmp_path / "a.bin.part").write_bytes(left)
    try:
        fetch(server, tmp_path / "a.bin")
    except FusionkitError:  # its beginning was not that of the file
        assert list(tmp_path.iterdir()) == []
        fetch(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_file_that_is_not_there_is_not_asked_for_again(server, tmp_path):
    with pytest.raises(FusionkitError, match="404"):
        fetch(server, tmp_path / "b.bin", name="b.bin")
    assert len(server.asked) == 1


def test_a_server_that_is_not_there(tmp_path):
    with Downloader(pause=0) as downloader, pytest.raises(FusionkitError):
        downloader.fetch("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", SHA256)


def test_a_full_disk_is_one_sentence_and_the_download_goes_on_later(server, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(WriteError, match=r"a\.bin") as error:
            fetch(server, tmp_path / "a.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "a.bin").exists()
    fetch(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert server.asked[-1][1] is not None


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError):
        fetch(server, tmp_path / "file" / "a.bin")
