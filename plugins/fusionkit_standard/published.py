"""Published pairs without labels, found by name: ``tno``, ``roadscene`` and ``harvard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Modalities
from fusionkit.io.data_folder import find_data
from fusionkit_standard.folders import PairedFolders


class _InfraredVisible(PairedFolders):
    """Published pairs of infrared and visible images.

    Args:
        modalities: Names of the sources; filled in by the run.
        root: Folder with ``ir`` and ``vi``. By default the folder that ``fusionkit data get`` makes
            below the folder of the data sets (``FUSIONKIT_DATA``).
        val: Fraction of the pairs to hold out for validation, as ``paired-folders`` does.
        fold: Which block of that size to hold out, for cross-validation.
        patch: Side of the training patches in pixels.
        stride: Distance between the corners of neighbouring patches in pixels.
        min_contrast: Skip patches if (p90 - p10) / p90 of any source is smaller.
        store: ``memory`` keeps all decoded images in memory; ``stream`` reads them when needed.
    """

    folder: ClassVar[str]
    refuses: ClassVar = {"build": "it reads a data set that its user has downloaded"}

    def __init__(
        self,
        modalities: Modalities,
        root: Path | None = None,
        val: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        fold: Annotated[int, Field(ge=0)] = 0,
        patch: Annotated[int, Field(ge=16)] = 128,
        stride: Annotated[int, Field(ge=1)] = 200,
        min_contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        store: Literal["memory", "stream"] = "memory",
    ):
        super().__init__(
            modalities,
            root=find_data(self.folder, root),
            val=val,
            fold=fold,
            patch=patch,
            stride=stride,
            min_contrast=min_contrast,
            store=store,
        )


class Tno(_InfraredVisible):
    """TNO: 42 grey pairs, which most papers test on (Toet, Data in Brief 2017)."""

    name = "tno"
    folder = "tno"


class RoadScene(_InfraredVisible):
    """RoadScene: 221 pairs of road scenes, visible in colour (Xu et al., AAAI 2020)."""

    name = "roadscene"
    folder = "roadscene"


class Harvard(PairedFolders):
    """Harvard Whole Brain Atlas: slices of MRI with CT, PET or SPECT, as CDDFuse tests on.

    Args:
        modalities: Names of the sources; filled in by the run. One is ``mri``, the other may have
            any name, such as ``pet`` or ``partner``.
        pair: Which slices.
        root: Folder with ``mri_ct``, ``mri_pet`` and ``mri_spect``. By default the folder that
            ``fusionkit data get harvard`` makes below the folder of the data sets
            (``FUSIONKIT_DATA``).
        val: Fraction of the pairs to hold out for validation, as ``paired-folders`` does.
        patch: Side of the training patches in pixels.
        stride: Distance between the corners of neighbouring patches in pixels.
        min_contrast: Skip patches if (p90 - p10) / p90 of any source is smaller.
    """

    name = "harvard"
    refuses: ClassVar = {"build": "it reads a data set that its user has downloaded"}

    def __init__(
        self,
        modalities: Modalities,
        pair: Literal["mri-ct", "mri-pet", "mri-spect"],
        root: Path | None = None,
        val: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        patch: Annotated[int, Field(ge=16)] = 128,
        stride: Annotated[int, Field(ge=1)] = 200,
        min_contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ):
        others = [modality for modality in modalities if modality != "mri"]
        if len(modalities) != 2 or len(others) != 1:
            raise FusionkitError(
                f"harvard: expected the modalities mri and another one, found "
                f"{', '.join(modalities)}; for other names use paired-folders with folders"
            )
        base = find_data("harvard", root) / pair.replace("-", "_")
        second = pair.removeprefix("mri-")
        super().__init__(
            modalities,
            folders={"mri": base / "mri", others[0]: base / second},
            val=val,
            patch=patch,
            stride=stride,
            min_contrast=min_contrast,
        )
