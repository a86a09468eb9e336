"""Checks a published data set on this machine: its files, their pairs, and their number."""

from __future__ import annotations

from pathlib import Path

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Dataset
from fusionkit.io.hashes import file_hash
from fusionkit.io.listing import many, some
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.components import Registry
from fusionkit.registry.data_cards import PublishedData

__all__ = ["check_data"]


def check_data(published: PublishedData, root: Path, registry: Registry) -> list[str]:
    """Check the folder of a data set.

    Checksums are compared if they are known. Then the data set is built as a recipe builds it,
    which pairs the files and checks their labels, and its scenes are counted.

    Args:
        published: The data set.
        root: Its folder.
        registry: The installed components.

    Returns:
        What was found, a sentence each.

    Raises:
        FusionkitError: if a file is missing or not the published one, if the data set can't be
            built, or if it has another number of scenes.

    Example:
        >>> import tempfile
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> plugins = load_installed_plugins()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     check_data(plugins.data["tno"], Path(folder), plugins.registry)
        Traceback (most recent call last):
        fusionkit.errors.FusionkitError: ... is not TNO as published: 84 files are missing...
    """
    card = published.card
    if not root.is_dir():
        raise FusionkitError(f"{root} is no folder; name the folder that holds {card.title}")
    sentences = []
    files = published.files()
    missing = [file.path for file in files if not (root / file.path).is_file()]
    different = [
        file.path
        for file in files
        if file.path not in missing and file_hash(root / file.path) != file.sha256
    ]
    problems = [
        f"{many(len(paths), 'file')} {'is' if len(paths) == 1 else 'are'} {what}: {some(paths)}"
        for paths, what in ((missing, "missing"), (different, "not the published ones"))
        if paths
    ]
    if problems:
        raise FusionkitError(f"{root} is not {card.title} as published: {'; '.join(problems)}")
    if files:
        sentences.append(f"{many(len(files), 'file')} with the published SHA-256")
    for part in card.parts:
        arguments = {key: value for key, value in part.data.items() if key != "name"}
        spec = make_spec(registry, "dataset", part.data["name"], {**arguments, "root": str(root)})
        dataset: Dataset = registry.build(spec, part.modalities)
        if part.scenes is not None and len(dataset) != part.scenes:
            raise FusionkitError(
                f"{root} is not {card.title} as published: expected {part.scenes:,} scenes of "
                f"{part.data}, found {len(dataset):,}"
            )
        splits = {name: len(indices) for name, indices in dataset.splits().items() if indices}
        counts = ", ".join(f"{name} {count:,}" for name, count in splits.items())
        named = ", ".join(f"{key}: {value}" for key, value in part.data.items())
        sentences.append(f"{many(len(dataset), 'scene')} ({counts}) by data: {{{named}}}")
    return sentences
