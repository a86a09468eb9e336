"""What `fuse` is asked to fuse: files or folders, with or without the names of their modalities."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from fusionkit.cli.options import parse_sources
from fusionkit.errors import FusionkitError
from fusionkit.io.listing import Listing, list_pairs, read_pair_table

__all__ = ["list_sources", "rename_modalities"]

logger = logging.getLogger("fusionkit")


def list_sources(
    paths: list[Path] | None,
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
    named = parse_sources(sources) if sources else _guess(paths or [], patterns)
    return list_pairs(named, recursive=recursive, patterns=patterns)


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
