"""Cards of published data sets: what each holds, its terms, where it is, and its checksums."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fusionkit.errors import FusionkitError, nearest
from fusionkit.io.data_folder import data_folder
from fusionkit.io.yaml_document import read_yaml
from fusionkit.registry.validation_errors import explain

__all__ = [
    "ArchiveDownload",
    "DataCard",
    "FilesDownload",
    "PublishedData",
    "PublishedFile",
    "data_named",
    "data_text",
    "read_data_card",
]

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Url = Annotated[str, Field(pattern=r"^https?://")]


class _Part(BaseModel):
    """A component that reads the data set, or a part of it.

    Attributes:
        data: The component, as a recipe says it.
        modalities: The sources that it is built for.
        scenes: Number of scenes as published; None if unknown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: dict[str, Any]
    modalities: tuple[str, ...] = ("infrared", "visible")
    scenes: int | None = None


class FilesDownload(BaseModel):
    """A data set that is published as single files.

    Attributes:
        base: URL that the paths of the files follow.
        folders: Folder of the data set -> folder below the URL.
        checksums: File beside the card with a line ``SHA-256  folder/file`` for each file, as
            ``sha256sum`` writes it.
        bytes: Size of all files together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: Annotated[_Url, Field(pattern=r"/$")]
    folders: Annotated[dict[str, str], Field(min_length=1)]
    checksums: str
    bytes: int


class ArchiveDownload(BaseModel):
    """A data set that is published as a ZIP archive.

    Attributes:
        archive: URL of the archive.
        folders: Folder of the data set -> folder in the archive.
        sha256: SHA-256 of the archive; None if unknown, so that the first download sets it.
        bytes: Size of the archive; None if unknown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: _Url
    folders: Annotated[dict[str, str], Field(min_length=1)]
    sha256: _Sha256 | None = None
    bytes: int | None = None


class DataCard(BaseModel):
    """What users must know about a published data set. The attributes are the keys of its YAML.

    Attributes:
        name: Name for ``fusionkit data``.
        title: Name that papers use.
        summary: One sentence.
        paper: What to cite.
        home: Page of the authors.
        terms: Terms of use of the images.
        folder: Its folder below the folder of all data sets.
        parts: The components that read it.
        download: Where a program can download it; None if it can't.
        by_hand: Where a person gets it and how it must be unpacked, if no program can.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    summary: str
    paper: str
    home: _Url
    terms: str
    folder: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    parts: Annotated[tuple[_Part, ...], Field(min_length=1)]
    download: FilesDownload | ArchiveDownload | None = None
    by_hand: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.download is None) == (self.by_hand is None):
            raise ValueError("expected either download or by_hand")
        return self


class PublishedFile(BaseModel):
    """A file of a data set.

    Attributes:
        path: Its place in the folder of the data set.
        url: Where it is published.
        sha256: SHA-256 of its content.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    url: str
    sha256: str


class PublishedData:
    """A data set that a plugin knows.

    Attributes:
        card: Its card.
        card_path: The file of the card.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> load_installed_plugins().data["roadscene"].files()[0].path
        'ir/FLIR_00006.jpg'
    """

    def __init__(self, card: DataCard, card_path: Path):
        self.card = card
        self.card_path = card_path

    @property
    def target(self) -> Path:
        """The folder that ``fusionkit data get`` makes."""
        return data_folder() / self.card.folder

    def files(self) -> list[PublishedFile]:
        """Return the files with their checksums; empty if they are not known.

        Raises:
            FusionkitError: if the list of checksums is missing or wrong.
        """
        download = self.card.download
        if not isinstance(download, FilesDownload):
            return []
        path = self.card_path.parent / download.checksums
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise FusionkitError(f"the checksums {path} can't be read: {error}") from None
        return [_file(line, download, f"{path}:{number}") for number, line in enumerate(lines, 1)]

    def urls(self) -> list[str]:
        """Return what a check of links must try: the page of the authors, and a download."""
        download, files = self.card.download, self.files()
        own = [download.archive] if isinstance(download, ArchiveDownload) else []
        # One file of each folder: all of them stand or fall together.
        first = {PurePosixPath(file.path).parent: file.url for file in reversed(files)}
        return [self.card.home, *own, *first.values()]


def _file(line: str, download: FilesDownload, where: str) -> PublishedFile:
    sha256, _, path = line.partition("  ")
    folder, _, name = path.rpartition("/")
    if len(sha256) != 64 or folder not in download.folders or not name or ".." in path.split("/"):
        raise FusionkitError(
            f"{where}: expected `SHA-256  folder/file` with a folder of the card "
            f"({', '.join(download.folders)}), found {line[:120]!r}"
        )
    remote = f"{download.folders[folder]}/{name}"
    return PublishedFile(path=path, url=download.base + quote(remote), sha256=sha256)


def read_data_card(path: Path) -> PublishedData:
    """Read the card of a data set.

    Raises:
        FusionkitError: if the file is not such a card; says what is wrong and where.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> published = read_data_card(load_installed_plugins().data["roadscene"].card_path)
        >>> published.card.title, len(published.files())
        ('RoadScene', 442)
    """
    document = read_yaml(path)
    try:
        card = DataCard.model_validate(document.values)
    except ValidationError as error:
        problems = [f"{where}: {what}" if where else what for where, what in explain(error)]
        raise FusionkitError(f"{path} is no card of a data set: " + "; ".join(problems)) from None
    return PublishedData(card, path)


def data_named(name: str, known: Mapping[str, PublishedData], hint: str = "") -> PublishedData:
    """Return a published data set by its name.

    Args:
        name: Its name.
        known: Name -> data set.
        hint: What to append to the error, such as the plugins that were not loaded.

    Raises:
        FusionkitError: if no plugin knows it; lists those that are known.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> data_named("msrs", load_installed_plugins().data).card.folder
        'MSRS'
    """
    if name not in known:
        raise FusionkitError(
            f"no data set is called {name!r} (there are: {', '.join(sorted(known)) or 'none'})"
            + nearest(name, known)
            + hint
        )
    return known[name]


def data_text(published: PublishedData) -> str:
    """Return a card as text for a terminal.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> data_text(load_installed_plugins().data["msrs"]).partition(":")[0]
        'MSRS'
    """
    card = published.card
    rows = {"cite": card.paper, "page": card.home, "terms": card.terms}
    match card.download:
        case FilesDownload() as files:
            count = len(published.files())
            rows["download"] = f"{count} files, {_megabytes(files.bytes)}, from {files.base}"
            rows["checksums"] = f"the SHA-256 of each file is known ({files.checksums})"
        case ArchiveDownload() as archive:
            size = _megabytes(archive.bytes) if archive.bytes else "size unknown"
            rows["download"] = f"{archive.archive} ({size})"
            rows["checksums"] = (
                f"SHA-256 {archive.sha256}"
                if archive.sha256
                else "not known to fusionkit; that of your first download is recorded"
            )
        case None:
            rows["by hand"] = card.by_hand or ""
    rows["folder"] = str(published.target)
    lines = [f"{card.title}: {card.summary}"]
    wrapper = textwrap.TextWrapper(
        96, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    lines += [wrapper.fill(f"{key}: {text}") for key, text in rows.items()]
    return "\n".join(lines) + "\n"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
