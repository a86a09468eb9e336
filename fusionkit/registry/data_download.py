"""Downloads published data sets; each appears complete or not at all."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from fusionkit.errors import FusionkitError, WriteError
from fusionkit.io.atomic_write import locked, make_folder, write_error, write_json
from fusionkit.io.data_folder import data_folder
from fusionkit.io.download import Downloader
from fusionkit.io.hashes import file_hash
from fusionkit.progress import Progress, SilentProgress
from fusionkit.registry.data_cards import ArchiveDownload, FilesDownload, PublishedData

__all__ = ["get_data"]

RECORD = ".checksums.json"
"""File in the folder of the data sets: URL -> SHA-256 of the first download, if none is known."""

_MIB = 1 << 20


def get_data(
    published: PublishedData, progress: Progress | None = None, *, pause: float = 1.0
) -> Path:
    """Download a data set into the folder of the data sets.

    An interrupted download goes on where it stopped.

    Args:
        published: The data set.
        progress: Receives a step for each file, or for each mebibyte of an archive.
        pause: Seconds before a broken connection is tried again; see ``Downloader``.

    Returns:
        Its folder.

    Raises:
        FusionkitError: if no program can download it, if something is in its place already, if
            another command downloads it, or as ``Downloader.fetch``; and if an archive is damaged
            or does not hold the folders of the data set.
        WriteError: if the disk is full or the folder is protected.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> get_data(load_installed_plugins().data["llvip"])
        Traceback (most recent call last):
        fusionkit.errors.FusionkitError: LLVIP can't be downloaded by a program: ...
    """
    card, target = published.card, published.target
    if card.download is None:
        raise FusionkitError(
            f"{card.title} can't be downloaded by a program: {card.by_hand} ({card.home}). Put it "
            f"at {target}, then: fusionkit data check {card.name}"
        )
    if target.exists():
        raise FusionkitError(
            f"{target} exists already; check it with `fusionkit data check {card.name}`, or remove "
            f"it to download it again"
        )
    base = data_folder()
    make_folder(base)
    work = base / f".download-{card.name}"
    busy = f"another command downloads {card.title} to {base}"
    with locked(base / f".download-{card.name}.lock", busy):
        make_folder(work)
        _check_space(work, card.download)
        steps = progress or SilentProgress()
        if isinstance(card.download, FilesDownload):
            made = _get_files(published, work, steps, pause)
        else:
            made = _get_archive(card.download, base, work, steps, pause)
        try:
            made.replace(target)
        except OSError as error:
            raise write_error(target, error) from error
        shutil.rmtree(work, ignore_errors=True)
    return target


def _get_files(published: PublishedData, work: Path, steps: Progress, pause: float) -> Path:
    files = published.files()
    steps.expect(len(files))
    made = work / "files"
    with Downloader(pause=pause) as downloader:
        for file in files:
            downloader.fetch(file.url, made / file.path, file.sha256)
            steps.step()
    expected = {made / file.path for file in files}
    for leftover in made.rglob("*"):  # of downloads that were killed
        if leftover.is_file() and leftover not in expected:
            leftover.unlink()
    return made


def _get_archive(
    download: ArchiveDownload, base: Path, work: Path, steps: Progress, pause: float
) -> Path:
    archive, url = work / "archive.zip", download.archive
    shown = 0

    def advance(done: int, total: int | None) -> None:
        nonlocal shown
        if total is not None and shown == 0:
            steps.expect(total // _MIB)
        while shown < done // _MIB:
            shown += 1
            steps.step()

    recorded = _recorded(base)
    with Downloader(advance, pause=pause) as downloader:
        downloader.fetch(url, archive, download.sha256 or recorded.get(url))
    made = work / "files"
    shutil.rmtree(made, ignore_errors=True)
    _unpack(archive, made, download)
    if download.sha256 is None:
        write_json(base / RECORD, {**recorded, url: file_hash(archive)})
    return made


def _recorded(base: Path) -> dict[str, str]:
    path = base / RECORD
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FusionkitError(f"{path} can't be read: {error}; restore or remove it") from None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise FusionkitError(f"{path}: expected SHA-256 by URL; restore or remove it")
    return found


def _unpack(archive: Path, made: Path, download: ArchiveDownload) -> None:
    """Unpack the folders of a data set, and nothing else of the archive.

    Raises:
        FusionkitError: if the archive is damaged, lacks a folder, or leads out of it.
        WriteError: if a file can't be written.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            places: list[tuple[zipfile.ZipInfo, Path]] = []
            for local, remote in download.folders.items():
                found = [
                    (member, made / local / PurePosixPath(member.filename).relative_to(remote))
                    for member in file.infolist()
                    if member.filename.startswith(f"{remote}/") and not member.is_dir()
                ]
                if not found:
                    raise FusionkitError(
                        f"{download.archive} has no folder {remote}; the data set has changed, "
                        f"please report it"
                    )
                places += found
            if any(".." in path.parts for _, path in places):
                raise FusionkitError(f"{download.archive} holds a file outside of its folders")
            _check_free(made.parent, sum(member.file_size for member, _ in places))
            for member, path in places:
                path.parent.mkdir(parents=True, exist_ok=True)
                with file.open(member) as source, path.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        archive.unlink(missing_ok=True)
        raise FusionkitError(
            f"{download.archive} is a damaged archive ({error}); it was removed, run the same "
            f"command again"
        ) from None
    except OSError as error:
        raise write_error(made, error) from error


def _check_space(work: Path, download: FilesDownload | ArchiveDownload) -> None:
    if download.bytes is not None:
        there = sum(file.stat().st_size for file in work.rglob("*") if file.is_file())
        _check_free(work, download.bytes - there)


def _check_free(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WriteError(
            f"{folder} lacks space: {needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are "
            f"free; free some space, or set FUSIONKIT_DATA to a folder on another disk"
        )
