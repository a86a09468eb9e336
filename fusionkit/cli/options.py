"""Options that several commands share, and functions that read their values."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.errors import FusionkitError
from fusionkit.io.pixel_limit import VARIABLE

if TYPE_CHECKING:
    import torch

    from fusionkit.inference.engines import Engine
    from fusionkit.interfaces import Backbone

logger = logging.getLogger("fusionkit")


class Symmetry(StrEnum):
    """Group that a backbone is averaged over."""

    none = "none"
    reflect = "reflect"
    d4 = "d4"


class Stretch(StrEnum):
    """Whether the fused luminance is stretched to the full range."""

    none = "none"
    minmax = "minmax"


class ColourRule(StrEnum):
    """How the colour is put back under the fused luminance."""

    oklab = "oklab"
    scaled = "scaled"
    ycbcr = "ycbcr"


Sources = Annotated[
    list[str],
    typer.Option(
        "--source",
        metavar="MODALITY=PATH",
        help="Image or folder of one modality; repeat the option for each modality.",
    ),
]


ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Trained model: a run folder, a .safetensors file, an exported .onnx or .xml file, "
        "a name that `fusionkit models` lists, or `hf:owner/name@revision`, which is downloaded "
        "from the Hugging Face hub once. By default the installed model for the given modalities.",
    ),
]


BackboneOption = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="Backbone that needs no training, such as `laplacian-pyramid`, in place of a model.",
    ),
]


SymmetryOption = Annotated[
    Symmetry,
    typer.Option(
        "--symmetrize",
        help="Average the results for all reflections (4 passes) or for all reflections and "
        "quarter turns (d4, 8 passes) of the sources.",
    ),
]


ExactOption = Annotated[
    bool,
    typer.Option(
        "--exact", help="Use the network exactly as its authors wrote it, which is slower."
    ),
]


class Precision(StrEnum):
    """Arithmetic of the network."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1` or `mps`.",
    ),
]


PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="Arithmetic of the network: 32-bit floats, or 16-bit floats, which are faster on GPUs "
        "and change some pixels by a grey level.",
    ),
]


class EngineName(StrEnum):
    """Where the work is done."""

    local = "local"
    ray = "ray"


EngineOption = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        help="`local` works in threads of this machine. `ray` spreads the work over the Ray "
        "cluster that RAY_ADDRESS names, or over processes of this machine.",
    ),
]


WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Workers of `--engine ray`. By default one for each GPU, or each core without GPUs.",
    ),
]


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", help="Settings to change, such as `data.size=64`; dots nest."
    ),
]


def _load_plugin_files(files: list[Path] | None) -> list[Path] | None:
    from fusionkit.registry.plugin_files import load_plugin

    for file in files or []:
        load_plugin(file)
    return files


PluginFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        callback=_load_plugin_files,
        help="Python file with components of your own; repeat the option for more files.",
    ),
]


def _limit_pixels(most: int | None) -> int | None:
    if most is not None:
        os.environ[VARIABLE] = str(most)
    return most


MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        metavar="N",
        min=1,
        callback=_limit_pixels,
        help="Refuse images that need more pixels in memory at once. By default 536,870,912; the "
        "environment variable FUSIONKIT_MAX_PIXELS sets it for all commands.",
    ),
]


def parse_assignments(option: str, values: list[str] | None, form: str) -> dict[str, str]:
    """Return name -> text of an option that is given as ``NAME=VALUE``, once for each name.

    Args:
        option: The option, for messages.
        values: What was given; None for nothing.
        form: The form of a value, for messages.

    Raises:
        FusionkitError: for a value of another form, or a name that is given twice.

    Example:
        >>> parse_assignments("--source", ["ir=a.png", "vi=b=c.png"], "MODALITY=PATH")
        {'ir': 'a.png', 'vi': 'b=c.png'}
    """
    assignments: dict[str, str] = {}
    for value in values or ():
        name, _, text = value.partition("=")
        if not (name and text):
            raise FusionkitError(f"expected {option} {form}, found {value!r}")
        if name in assignments:
            raise FusionkitError(f"{option} {name}=... is given twice; keep one of them")
        assignments[name] = text
    return assignments


def parse_sources(options: list[str]) -> dict[str, Path]:
    """Return modality -> path from ``--source MODALITY=PATH``.

    Raises:
        FusionkitError: as ``parse_assignments``, or for fewer than two sources.
    """
    sources = parse_assignments("--source", options, "MODALITY=PATH (--source infrared=ir/)")
    if len(sources) < 2:
        raise FusionkitError(
            f"expected two or more sources, found {len(sources)}; "
            f"give --source once for each modality"
        )
    return {modality: Path(path) for modality, path in sources.items()}


@contextmanager
def open_engine(
    engine: EngineName,
    workers: int | None,
    device: str,
    precision: Precision = Precision.fp32,
) -> Iterator[tuple[Engine, torch.device]]:
    """Yield the engine that a command asks for, and the device that it computes on.

    With Ray, ``sys.stdout`` is standard error inside the ``with`` block.

    Args:
        engine: Its name.
        workers: Number of workers of a Ray cluster.
        device: ``auto``, ``cpu``, ``cuda`` or, without Ray, another one of this machine.
        precision: Arithmetic of the networks; see ``choose_device``.

    Raises:
        FusionkitError: if Ray, the cluster or the device is not there, or workers were asked of
            the local engine.
    """
    from fusionkit.inference.devices import choose_device
    from fusionkit.inference.engines import LocalEngine
    from fusionkit.inference.ray_engine import RayEngine

    if engine is EngineName.ray:
        # Ray prints the deaths of nodes on standard output, which belongs to the results.
        with redirect_stdout(sys.stderr), RayEngine(device, workers) as cluster:
            yield cluster, cluster.device
        return
    if workers is not None:
        raise FusionkitError(
            "--workers is for --engine ray; OMP_NUM_THREADS limits the cores of this machine"
        )
    yield LocalEngine(), choose_device(device, precision.value)


def allowed_device(network: Backbone, device: str, precision: Precision) -> str:
    """Return the device that is asked for, which is the CPU for an exported file.

    Args:
        network: What ``choose_model`` gave.
        device: See ``DeviceOption``.
        precision: See ``PrecisionOption``.

    Raises:
        FusionkitError: if the network is an exported file, and the options ask for anything but
            32-bit floats on the CPU.
    """
    from fusionkit.inference.exported_model import ExportedModel

    if isinstance(network, ExportedModel):
        network.check_place(device, precision.value)
        return "cpu"
    return device


def choose_model(
    model: str | None, backbone: str | None, sources: Collection[str], *, exact: bool = False
) -> tuple[Backbone, dict[str, str]]:
    """Return the network to fuse with, and the name that it has for each source.

    Raises:
        FusionkitError: if both are given, the model does not exist, no installed model fits the
            sources, or the backbone needs training.
    """
    from fusionkit.api import build, load, names_for
    from fusionkit.registry.model_cards import model_for
    from fusionkit.registry.plugins import load_installed_plugins

    if model is not None and backbone is not None:
        raise FusionkitError("expected --model or --backbone, found both; give one of them")
    if backbone is not None:
        network: Backbone = build("backbone", name=backbone)
        if any(True for _ in network.parameters()):
            raise FusionkitError(
                f"the backbone {backbone!r} has weights that must be trained first; "
                f"give a trained one with --model"
            )
        return network.eval(), {name: name for name in sources}
    if model is None:
        plugins = load_installed_plugins()
        model = model_for(sources, plugins.models, plugins.registry.hint).card.name
        logger.info("model: %s (others: fusionkit models)", model)
    network = load(model, exact=exact)
    return network, names_for(network, sources)
