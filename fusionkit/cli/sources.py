"""What `fuse` is asked to fuse: images, folders or videos, with or without names of modalities."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from fusionkit.cli.options import parse_assignments, parse_sources
from fusionkit.errors import FusionkitError
from fusionkit.io.listing import Listing, list_pairs, read_pair_table
from fusionkit.io.video import is_video
from fusionkit.io.video_writer import OUTPUT_SUFFIXES

__all__ = ["find_videos", "list_sources", "rename_modalities"]

logger = logging.getLogger("fusionkit")


def list_sources(
    paths: list[str] | None,
    sources: list[str] | None,
    patterns: tuple[str, str] | None,
    table: Path | None,
    *,
    recursive: bool,
) -> Listing:
    """Return the pairs that a command line asks for.

    Args:
        paths: Files or folders without names of modalities, which are guessed.
        sources: ``MODALITY=PATH`` of each source.
        patterns: ``--pair``: a pattern of file names for each source.
        table: ``--pairs``: a CSV file.
        recursive: Search the folders below as well.

    Raises:
        FusionkitError: if more than one of them, or none, says what to fuse, if no modalities can
            be guessed, or as ``list_pairs`` and ``read_pair_table``.
    """
    given = [bool(paths), bool(sources), table is not None]
    if sum(given) != 1:
        raise FusionkitError(
            "expected two images or folders, or --source for each modality, or --pairs with a "
            f"table; found {'more than one of them' if any(given) else 'none of them'}"
        )
    if table is not None:
        if patterns is not None:
            raise FusionkitError("--pair needs folders, and --pairs names the files; give one")
        return read_pair_table(table)
    if sources:
        return list_pairs(parse_sources(sources), recursive=recursive, patterns=patterns)
    named = _guess([Path(path) for path in paths or []], patterns)
    return list_pairs(named, recursive=recursive, patterns=patterns)


def find_videos(
    paths: list[str] | None, sources: list[str] | None, out: Path
) -> dict[str, str] | None:
    """Return modality -> video, if a command line asks for a video; None if it asks for images.

    A video is asked for if a source is one, or if the output is called like one; the sources may
    then be image sequences too.

    Args:
        paths: Sources without names of modalities, which are guessed.
        sources: ``MODALITY=SOURCE`` of each source.
        out: The output.

    Raises:
        FusionkitError: if both or fewer than two sources are given, or no modalities can be
            guessed.

    Example:
        >>> find_videos(None, ["ir=a.mp4", "vi=rtsp://camera/1"], Path("fused.mp4"))
        {'ir': 'a.mp4', 'vi': 'rtsp://camera/1'}
    """
    named = parse_assignments("--source", sources, "MODALITY=SOURCE")
    given = [*(paths or ()), *named.values()]
    if not any(map(is_video, given)) and out.suffix.lower() not in OUTPUT_SUFFIXES:
        return None
    if (paths and sources) or len(given) < 2:
        raise FusionkitError(
            "expected two videos or image sequences, or --source for each modality; found "
            f"{'both' if paths and sources else ', '.join(given) or 'none'}"
        )
    if named:
        return named
    by_path = {Path(path): path for path in given}
    return {modality: by_path[path] for modality, path in _guess(list(by_path), None).items()}


def rename_modalities(listing: Listing, names: dict[str, str]) -> Listing:
    """Return a listing with other names for its modalities.

    Args:
        listing: The pairs.
        names: Name in the listing -> new name.

    Example:
        >>> from fusionkit.io.listing import PairFiles
        >>> listing = Listing((PairFiles("a", {"ir": Path("a.png")}),))
        >>> rename_modalities(listing, {"ir": "infrared"}).pairs[0].paths
        {'infrared': PosixPath('a.png')}
    """
    pairs = (
        replace(pair, paths={names[modality]: path for modality, path in pair.paths.items()})
        for pair in listing.pairs
    )
    return replace(listing, pairs=tuple(pairs))


def _guess(paths: list[Path], patterns: tuple[str, str] | None) -> dict[str, Path]:
    """Return modality -> path, by the words in the names of files, folders or patterns."""
    from fusionkit.registry.model_cards import guess_modalities
    from fusionkit.registry.plugins import load_installed_plugins

    if patterns is not None and len(paths) == 1:
        paths = [paths[0]] * len(patterns)
    if len(paths) < 2:
        raise FusionkitError(
            f"expected two or more images or folders, found {paths[0]}; "
            f'or one folder with --pair "{{stem}}_ir.png" "{{stem}}_vis.png"'
        )
    cards = [model.card for model in load_installed_plugins().models.values()]
    texts = [[path.stem, path.parent.name] for path in paths]
    found = guess_modalities(texts, cards)
    if found is None and patterns is not None:
        found = guess_modalities([[pattern] for pattern in patterns], cards)
    if found is None:
        raise FusionkitError(
            f"can't tell the modalities of {', '.join(str(path) for path in paths)} by their "
            f"names; say them: --source infrared={paths[0]} --source visible={paths[1]}"
        )
    named = dict(zip(found, paths, strict=True))
    logger.info(
        f"guessed from the names: {', '.join(f'{name} is {path}' for name, path in named.items())} "
        f"(--source MODALITY=PATH says otherwise)"
    )
    return named
