"""The files that fused images are written to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fusionkit.errors import FusionkitError
from fusionkit.io.atomic_write import make_folder
from fusionkit.io.images import SUFFIXES, write_image
from fusionkit.io.metadata import Metadata, read_metadata
from fusionkit.io.pairs import Pair

__all__ = ["OutputFiles"]


class OutputFiles:
    """The files that the fused images of some pairs are written to; none of them is a source.

    Args:
        out: A folder; or a file, if there is one pair and ``out`` ends like an image.
        pairs: What is going to be fused.
        suffix: Format of the files in a folder, such as ``.png``. By default it is that of the
            source that gives the result its colour and depth, but PNG for JPEG: compressing a
            second time would cost quality and change every score.
        as_file: Whether ``out`` may be a file.

    Raises:
        FusionkitError: for an unknown suffix, or an output that would replace a source.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from fusionkit.io.pairs import find_pairs
        >>> image = np.zeros((20, 30), np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sources = {name: Path(folder, f"{name}.png") for name in ("infrared", "visible")}
        ...     for path in sources.values():
        ...         write_image(path, image)
        ...     pairs = find_pairs(sources)
        ...     files = OutputFiles(Path(folder, "fused.png"), pairs, suffix=None, as_file=True)
        ...     files.write(pairs[0], "visible", image).name
        'fused.png'
    """

    def __init__(
        self, out: Path, pairs: Sequence[Pair], *, suffix: str | None, as_file: bool
    ) -> None:
        if suffix is not None and suffix.lower() not in SUFFIXES:
            raise FusionkitError(f"suffix: expected one of {', '.join(SUFFIXES)}, found {suffix!r}")
        self._out, self._suffix = out, suffix
        self._is_file = as_file and out.suffix.lower() in SUFFIXES
        for pair in pairs:
            for path in pair.paths.values():
                self._check_apart(pair, path)
        if self._is_file and out.is_dir():
            raise FusionkitError(
                f"expected a file to write, found the folder {out}; name another file"
            )

    def make_folder(self) -> None:
        """Make the folder of the files.

        Raises:
            FusionkitError: if it can't be written.
        """
        make_folder(self._out.parent if self._is_file else self._out)

    def write(self, pair: Pair, reference_modality: str, fused: NDArray[Any]) -> Path:
        """Write the fused image of a pair with what the camera wrote beside the reference's pixels.

        Args:
            pair: The pair.
            reference_modality: The source whose metadata (EXIF, and the colour profile of a
                coloured result) is kept.
            fused: (h, w) or (h, w, 3).

        Returns:
            The file, which appears whole or not at all.

        Raises:
            FusionkitError: if the format can't hold the pixels, or the file can't be written.
        """
        source = pair.paths[reference_modality]
        path = self._out if self._is_file else self._out / (pair.id + self._suffix_for(source))
        write_image(path, fused, _metadata(source, rgb=fused.ndim == 3))
        return path

    def _suffix_for(self, source: Path) -> str:
        jpeg = source.suffix.lower() in (".jpg", ".jpeg")
        return self._suffix or (".png" if jpeg else source.suffix)

    def _check_apart(self, pair: Pair, source: Path) -> None:
        if self._is_file and self._out.resolve() == source.resolve():
            raise FusionkitError(f"the output {self._out} is one of the sources; name another file")
        # A result beside a source with its stem, in another format, would break pairing.
        beside = (self._out.resolve(), pair.id) == (source.parent.resolve(), source.stem)
        if not self._is_file and beside:
            raise FusionkitError(
                f"the output folder {self._out} holds the source {source.name}; name another folder"
            )


def _metadata(source: Path, *, rgb: bool) -> Metadata:
    """Return what the camera wrote; the profile only if the result has the source's colours."""
    found = read_metadata(source)
    if rgb and found.profile is not None and found.profile[16:20] == b"RGB ":
        return found
    return replace(found, profile=None)
