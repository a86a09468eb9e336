"""The files that fused images are written to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from fusionkit.errors import FusionkitError
from fusionkit.inference.tiles import TiledImage
from fusionkit.io.atomic_write import make_folder
from fusionkit.io.formats import TIFF, WITH_QUALITY
from fusionkit.io.images import SUFFIXES, write_image
from fusionkit.io.listing import PairFiles
from fusionkit.io.metadata import Metadata, read_metadata
from fusionkit.io.tiff import write_rows

__all__ = ["OutputFiles", "OutputFormat"]


@dataclass(frozen=True)
class OutputFormat:
    """The file format of fused images.

    Attributes:
        suffix: Such as ``.png``. By default it is that of the source that gives the result its
            colour and depth, but PNG for JPEG and AVIF: compressing a second time would cost
            quality and change every score.
        quality: Quality of results in a format that loses some, from 1 to 100; see ``write_image``.

    Raises:
        FusionkitError: for a format that can't be written, or another quality.
    """

    suffix: str | None = None
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.suffix is not None and self.suffix.lower() not in SUFFIXES:
            raise FusionkitError(
                f"format: expected one of {', '.join(SUFFIXES)}, found {self.suffix!r}"
            )
        if self.quality is not None and self.suffix not in (None, *WITH_QUALITY):
            raise FusionkitError(
                f"quality: {self.suffix} is written without loss; leave it out, or choose one of "
                f"{', '.join(WITH_QUALITY)}"
            )
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise FusionkitError(f"quality: expected 1 to 100, found {self.quality}")


class OutputFiles:
    """The files that the fused images of some pairs are written to; none of them is a source.

    Args:
        out: A folder; or a file, if the sources are files and ``out`` ends like an image.
        pairs: What is going to be fused.
        format: Format of the files in a folder.
        as_file: Whether the sources are files, so that ``out`` may be one.

    Attributes:
        folder: The folder of the files.
        is_file: Whether there is only the one file ``out``.

    Raises:
        FusionkitError: for an output that would replace a source, or a file name that ends like an
            image of a format that can't be written.

    Example:
        >>> pair = PairFiles("a", {"mri": Path("mri/a.png"), "pet": Path("pet/a.png")})
        >>> OutputFiles(Path("fused"), [pair]).folder
        PosixPath('fused')
    """

    def __init__(
        self,
        out: Path,
        pairs: Sequence[PairFiles],
        format: OutputFormat | None = None,
        *,
        as_file: bool = False,
    ) -> None:
        self._out, self._format = out, format or OutputFormat()
        self.is_file = as_file and out.suffix.lower() in SUFFIXES
        if self.is_file and out.is_dir():
            raise FusionkitError(
                f"expected a file to write, found the folder {out}; name another file"
            )
        self.folder = out.parent if self.is_file else out
        known = Image.registered_extensions()
        if not self.is_file and not out.exists() and out.suffix.lower() in (*known, *SUFFIXES):
            raise FusionkitError(
                f"{out}: expected a folder, which gets an image for each pair"
                if not as_file
                else f"{out}: expected one of the formats {', '.join(SUFFIXES)}, or a folder"
            )
        # Sources that lie in the output folder, also through a link.
        self._sources = {
            source
            for pair in pairs
            for path in pair.paths.values()
            if (source := path.resolve()).is_relative_to(self.folder.resolve())
        }
        for pair in pairs if self._sources else ():
            for path in pair.paths.values():
                self._check_apart(pair, path)

    def make_folder(self) -> None:
        """Make the folder of the files.

        Raises:
            FusionkitError: if it can't be written.
        """
        make_folder(self.folder)

    def path(self, pair: PairFiles, suffix: str) -> Path:
        """Return the file of a pair whose name ends in a suffix."""
        return self._out if self.is_file else self._out / (pair.id + suffix)

    def write(self, pair: PairFiles, reference_modality: str, fused: NDArray[Any]) -> Path:
        """Write the fused image of a pair with what the camera wrote beside the reference's pixels.

        Args:
            pair: The pair.
            reference_modality: The source whose metadata (EXIF, and the colour profile of a
                coloured result) is kept.
            fused: (h, w) or (h, w, 3).

        Returns:
            The file, which appears whole or not at all.

        Raises:
            FusionkitError: if the format can't hold the pixels, the file can't be written, or it is
                a source.
        """
        path = self._path_of(pair, reference_modality)
        metadata = _metadata(pair.paths[reference_modality], rgb=fused.ndim == 3)
        lossy = path.suffix.lower() in WITH_QUALITY
        write_image(path, fused, metadata, quality=self._format.quality if lossy else None)
        return path

    def write_bands(self, pair: PairFiles, image: TiledImage) -> Path:
        """Write an image that comes in bands of rows; a TIFF is written as they come.

        Args:
            pair: The pair.
            image: The image.

        Returns:
            The file, which appears whole or not at all.

        Raises:
            FusionkitError: as ``write``.
        """
        path = self._path_of(pair, image.reference_modality)
        if path.suffix.lower() not in TIFF:
            return self.write(pair, image.reference_modality, image.whole())
        metadata = _metadata(pair.paths[image.reference_modality], rgb=len(image.shape) == 3)
        write_rows(path, image.bands, shape=image.shape, dtype=image.dtype, metadata=metadata)
        return path

    def _path_of(self, pair: PairFiles, reference_modality: str) -> Path:
        path = self.path(pair, self._suffix_for(pair.paths[reference_modality]))
        if not self.is_file and "/" in pair.id:
            make_folder(path.parent)
        if path.parent.resolve() / path.name in self._sources:
            raise FusionkitError(f"the output {path} is one of the sources; name another folder")
        return path

    def _suffix_for(self, source: Path) -> str:
        lossy = source.suffix.lower() in (".jpg", ".jpeg", ".avif")
        return self._format.suffix or (".png" if lossy else source.suffix)

    def _check_apart(self, pair: PairFiles, source: Path) -> None:
        if self.is_file and self._out.resolve() == source.resolve():
            raise FusionkitError(f"the output {self._out} is one of the sources; name another file")
        # A result beside a source with its stem, in another format, would break pairing.
        place = source.parent.resolve() / source.stem
        if not self.is_file and self._out.resolve() / pair.id == place:
            raise FusionkitError(
                f"the output folder {self._out} holds the source {source.name}; name another folder"
            )


def _metadata(source: Path, *, rgb: bool) -> Metadata:
    """Return what the camera wrote; the profile only if the result has the source's colours."""
    found = read_metadata(source)
    if rgb and found.profile is not None and found.profile[16:20] == b"RGB ":
        return found
    return replace(found, profile=None)
