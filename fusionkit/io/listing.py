"""Finds the files of each scene: in folders, by patterns of names, or in a table."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fusionkit.errors import FusionkitError
from fusionkit.io.images import SUFFIXES

__all__ = ["Listing", "PairFiles", "check_count", "list_pairs", "many", "read_pair_table", "some"]


_MOST_MODALITIES = 64


@dataclass(frozen=True)
class PairFiles:
    """The files of one scene. They were found, not opened.

    Attributes:
        id: Name of the scene, which its result gets: the common stem of the files; below a folder
            that was searched recursively, with the folders in between, such as ``night/0001``.
        paths: Modality name -> file.
    """

    id: str
    paths: Mapping[str, Path]


@dataclass(frozen=True)
class Listing:
    """The pairs that were found, and what was left out.

    Attributes:
        pairs: The pairs, sorted by id; those of a table in its order.
        lonely: The names that some source lacks, with the modalities that it lacks.
        ignored: What else was found but not taken: a sentence for each kind of thing.
    """

    pairs: tuple[PairFiles, ...]
    lonely: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for each kind of thing that was found but is in no pair."""
        if not self.lonely:
            return self.ignored
        count = many(len(self.lonely), "image")
        return (*self.ignored, f"{count} without a partner: {some(self.lonely)}")


def list_pairs(
    sources: Mapping[str, Path],
    *,
    recursive: bool = False,
    patterns: Sequence[str] | None = None,
) -> Listing:
    """Find the files of each scene in folders; files given by name are one scene.

    Args:
        sources: Modality name -> folder. Or modality name -> file, for all of them.
        recursive: Search the folders below as well.
        patterns: A pattern of file names for each source, in their order, such as
            ``{stem}_ir.png``: files with the same ``{stem}`` are of one scene. With patterns, one
            folder may hold several sources. By default files of the same stem are of one scene.

    Returns:
        The pairs, and a sentence about each kind of file that is in no pair.

    Raises:
        FusionkitError: for fewer than two sources, a missing folder, two images of one name in a
            folder, one folder for two sources without patterns, or if there is no pair at all.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("a_ir.png", "a_vis.png", "b_ir.png"):
        ...         Path(folder, name).touch()
        ...     sources = {"infrared": Path(folder), "visible": Path(folder)}
        ...     found = list_pairs(sources, patterns=["{stem}_ir.png", "{stem}_vis.png"])
        >>> [pair.id for pair in found.pairs], found.left_out
        (['a'], ('1 image without a partner: b (no visible)',))
    """
    check_count(sources)
    if not any(path.is_dir() for path in sources.values()):
        for modality, path in sources.items():
            if not path.exists():
                raise FusionkitError(
                    f"expected a file or folder at {path} ({modality}), found nothing; "
                    f"check the path"
                )
        return Listing((PairFiles(next(iter(sources.values())).stem, dict(sources)),))
    for modality, path in sources.items():
        _check_folder(modality, path, sources)
    if patterns is None:
        _check_different(sources)
        matchers: Sequence[re.Pattern[str] | None] = [None] * len(sources)
    else:
        if len(patterns) != len(sources):
            raise FusionkitError(
                f"expected a pattern for each of the {len(sources)} sources, "
                f"found {len(patterns)}: {', '.join(patterns)}"
            )
        matchers = [_compile(pattern) for pattern in patterns]
        recursive = recursive or any("/" in pattern for pattern in patterns)
    ignored = _Ignored()
    found = {}
    for (modality, folder), matcher in zip(sources.items(), matchers, strict=True):
        found[modality] = _find(folder, matcher, recursive, ignored)
        if not found[modality]:
            wanted = "match the pattern" if matcher else f"end in {', '.join(SUFFIXES)}"
            raise FusionkitError(
                f"expected images that {wanted} in the folder {folder}, found none"
                + "".join(f"; {line}" for line in ignored.sentences(recursive))
            )
    if patterns is not None:
        taken = {path for paths in found.values() for path in paths.values()}
        ignored.unmatched -= taken
    pairs, lonely = _group(found)
    listing = Listing(tuple(pairs), tuple(lonely), tuple(ignored.sentences(recursive)))
    if not pairs:
        where = ", ".join(f"{name}: {path}" for name, path in sources.items())
        raise FusionkitError(
            f"expected images ({', '.join(SUFFIXES)}) that have a partner of the same name in each "
            f"folder, found no pair ({where})" + "".join(f"; {line}" for line in listing.left_out)
        )
    return listing


def read_pair_table(path: Path) -> Listing:
    r"""Read the files of each scene from a CSV table.

    Args:
        path: A CSV file. Its first line names the modalities and, if there is such a column, the
            ``id`` of the scene, which is the stem of the first file otherwise. The other lines
            hold paths, which are relative to the folder of the table.

    Raises:
        FusionkitError: if the table can't be read, has fewer than two modalities, a line with an
            empty cell, or two lines with one id; names the line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "pairs.csv")
        ...     _ = table.write_text("infrared,visible\nir/1.png,vi/1.png\n")
        ...     [pair.id for pair in read_pair_table(table).pairs]
        ['1']
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe or device might never end
            raise FusionkitError(f"expected a table of pairs, found no file at {path}")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FusionkitError(f"the table of pairs {path} can't be read: {error}") from None
    header = [name.strip() for name in rows[0]] if rows else []
    modalities = [name for name in header if name != "id"]
    if len(modalities) < 2 or len(set(header)) < len(header) or "" in header:
        raise FusionkitError(
            f"{path}: expected a first line that names two or more modalities, such as "
            f"infrared,visible; found {some(header) or 'nothing'}"
        )
    if len(modalities) > _MOST_MODALITIES:
        raise FusionkitError(
            f"{path}: expected at most {_MOST_MODALITIES} modalities, found {len(modalities)}"
        )
    pairs: dict[str, PairFiles] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
        if len(row) != len(header) or not all(cells[name] for name in modalities):
            raise FusionkitError(
                f"{path}, line {number}: expected {len(header)} values ({', '.join(header)}), "
                f"found {some(row)}"
            )
        if any("\0" in cell for cell in row):
            raise FusionkitError(f"{path}, line {number}: expected names, found a zero byte")
        name = cells.get("id") or Path(cells[modalities[0]]).stem
        where = PurePosixPath(name)
        if where.is_absolute() or ".." in where.parts or name.startswith("."):
            raise FusionkitError(
                f"{path}, line {number}: expected an id that is a name below the output folder, "
                f"found {name!r}"
            )
        if name in pairs:
            raise FusionkitError(
                f"{path}, line {number}: the id {name!r} is used twice; "
                f"give each scene its own in a column `id`"
            )
        pairs[name] = PairFiles(name, {key: path.parent / cells[key] for key in modalities})
    if not pairs:
        raise FusionkitError(f"{path}: expected lines with files, found only the first line")
    return Listing(tuple(pairs.values()))


def some(items: Sequence[str]) -> str:
    """Return up to ten items as text, and the number of the others.

    Example:
        >>> some(["a", "b"])
        'a, b'
    """
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(items[:10]) + more


def many(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun.

    Example:
        >>> many(1, "image"), many(2, "entry", "entries")
        ('1 image', '2 entries')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def check_count(sources: Mapping[str, object]) -> None:
    """Raise FusionkitError unless there are two or more sources.

    Example:
        >>> check_count({"infrared": "a.png", "visible": "b.png"})
    """
    if len(sources) < 2:
        raise FusionkitError(
            f"expected two or more sources, found {', '.join(sources) or 'none'}; "
            f"give one for each modality"
        )


class _Ignored:
    """What was seen in folders but not taken."""

    def __init__(self) -> None:
        self.folders: set[Path] = set()
        self.formats: Counter[str] = Counter()
        self.no_files: list[str] = []
        self.unmatched: set[Path] = set()

    def sentences(self, recursive: bool) -> list[str]:
        lines = []
        if self.folders:
            names = some(sorted(str(path) for path in self.folders))
            what = "linked folder" if recursive else "folder"
            advice = "" if recursive else "; --recursive takes them too"
            lines.append(f"{many(len(self.folders), what)} below not searched: {names}{advice}")
        if self.formats:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(self.formats.items()))
            total = sum(self.formats.values())
            lines.append(f"{many(total, 'file')} of other formats: {kinds}")
        if self.no_files:
            lines.append(
                f"{many(len(self.no_files), 'entry', 'entries')} that cannot be read as a file, "
                f"such as broken links: {some(sorted(self.no_files))}"
            )
        if self.unmatched:
            names = some(sorted(path.name for path in self.unmatched))
            lines.append(f"{many(len(self.unmatched), 'image')} that match no pattern: {names}")
        return lines


def _check_folder(modality: str, path: Path, sources: Mapping[str, Path]) -> None:
    if path.is_dir():
        return
    if not path.exists():
        raise FusionkitError(f"{modality}: the folder {path} does not exist; check the path")
    folder = next(other for other in sources.values() if other.is_dir())
    raise FusionkitError(
        f"expected files for all sources or folders for all, found the file {path} ({modality}) "
        f"and the folder {folder}"
    )


def _check_different(sources: Mapping[str, Path]) -> None:
    seen: dict[Path, str] = {}
    for modality, path in sources.items():
        other = seen.setdefault(path.resolve(), modality)
        if other != modality:
            raise FusionkitError(
                f"{other} and {modality} are the same folder {path}, so each image would be fused "
                f"with itself; give two folders, or tell their files apart with a pattern for "
                f'each: --pair "{{stem}}_ir.png" "{{stem}}_vis.png"'
            )


def _compile(pattern: str) -> re.Pattern[str]:
    parts = pattern.split("{stem}")
    if len(parts) != 2:
        raise FusionkitError(
            f"expected a pattern with {{stem}} once, such as {{stem}}_ir.png, found {pattern!r}"
        )
    before, after = (re.escape(part) for part in parts)
    return re.compile(f"(?P<below>(?:.*/)?){before}(?P<stem>.+?){after}")


def _find(
    folder: Path, matcher: re.Pattern[str] | None, recursive: bool, ignored: _Ignored
) -> dict[str, Path]:
    """Return id -> image of one source."""
    images: dict[str, Path] = {}
    for relative, path in _walk(folder, recursive, ignored):
        if matcher is None:
            name = relative[: -len(path.suffix)]
        else:
            match = matcher.fullmatch(relative)
            if match is None:
                ignored.unmatched.add(path)
                continue
            name = match["below"] + match["stem"]
        if name in images:
            raise FusionkitError(
                f"the folder {folder} has two images called {name!r}: "
                f"{images[name].name} and {path.name}; rename or remove one"
            )
        images[name] = path
    return images


def _walk(
    folder: Path, recursive: bool, ignored: _Ignored, above: str = ""
) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each image in a folder; names have the folders below the first one.

    Hidden entries are leftovers of other programs.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        raise FusionkitError(
            f"the folder {folder} can't be read: permission denied; allow reading it (chmod +rx)"
        ) from None
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False) and recursive:
            yield from _walk(path, recursive, ignored, f"{above}{entry.name}/")
            continue
        # Of a link the path is asked, because the entry would raise for a link to itself.
        is_file = entry.is_file(follow_symlinks=False)
        if not is_file and path.is_dir():
            ignored.folders.add(path)
        elif path.suffix.lower() not in SUFFIXES:
            ignored.formats[path.suffix.lower() or "without suffix"] += 1
        elif is_file or path.is_file():
            yield above + entry.name, path
        else:
            ignored.no_files.append(entry.name)


def _group(found: Mapping[str, Mapping[str, Path]]) -> tuple[list[PairFiles], list[str]]:
    """Return the pairs, and the names that some source lacks."""
    pairs, lonely = [], []
    for name in sorted({name for images in found.values() for name in images}):
        missing = [modality for modality, images in found.items() if name not in images]
        if missing:
            lonely.append(f"{name} (no {', '.join(missing)})")
        else:
            paths = {modality: images[name] for modality, images in found.items()}
            pairs.append(PairFiles(name, paths))
    return pairs, lonely
