"""The public functions of the package: build, load, save, fuse and evaluate."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fusionkit.errors import FusionkitError
from fusionkit.evaluation.scores import metrics_of, score_opened
from fusionkit.functional.colour_rules import ColourRule
from fusionkit.functional.stretching import Stretch
from fusionkit.inference.devices import choose_device
from fusionkit.inference.fusion import fuse_images
from fusionkit.inference.inference_form import inference_form
from fusionkit.inference.onnx_model import OnnxModel
from fusionkit.inference.openvino_model import OpenVinoModel
from fusionkit.inference.sources import FusionOptions
from fusionkit.interfaces import Backbone, Component
from fusionkit.io.images import ImageLike, open_image
from fusionkit.io.windows import Window
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.hub import fetch_model, parse_reference
from fusionkit.registry.model_cards import model_named, names_of
from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.registry.weights import load_weights, save_weights

__all__ = ["build", "evaluate", "fuse", "load", "names_for", "save", "weights_of"]

_EXPORTED = {".onnx": OnnxModel, ".xml": OpenVinoModel}
"""Suffix of an exported file -> what runs it."""


def build(kind: str, *, name: str, **arguments: Any) -> Any:
    """Build a component of any kind by its name.

    Args:
        kind: ``backbone``, ``sensor``, ``loss``, ...
        name: Its name, as in a configuration.
        **arguments: Its arguments, as in a configuration; they are validated.

    Raises:
        FusionkitError: if the component does not exist, or an argument is wrong.

    Example:
        >>> build("backbone", name="average").name
        'average'
    """
    registry = load_installed_plugins().registry
    return registry.build(make_spec(registry, kind, name, arguments))


def load(
    path: str | Path, *, device: str = "cpu", exact: bool = False, offline: bool = False
) -> Backbone:
    """Return a trained backbone in eval mode.

    It infers by the faster form of the network if there is one and its results are the same up to
    rounding. It trains and is saved as the network itself.

    Args:
        path: A run folder, a ``.safetensors`` file, an ``.onnx`` or ``.xml`` file that
            ``fusionkit export`` wrote, the name of a model that a plugin ships, or
            ``hf:owner/name@revision`` for a model of the Hugging Face hub.
        device: Where it fuses: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto``, which takes a
            GPU if there is one.
        exact: Return the network exactly as its authors wrote it, which is slower.
        offline: Open no connection: take a model of the hub from the cache.

    Raises:
        FusionkitError: if it does not exist, holds no backbone, or its plugin is not installed; or
            for a device that this machine does not have, or that can't run the file.

    Example:
        >>> load("emma-ir-vis").modalities
        ('infrared', 'visible')
    """
    file = weights_of(path, offline=offline)
    if file.suffix in _EXPORTED:
        if device not in ("auto", "cpu"):
            raise FusionkitError(
                f"{file}: exported files run on the CPU only, found the device {device!r}; give "
                f"'cpu', or a model that PyTorch runs"
            )
        return _EXPORTED[file.suffix](file)
    component = load_weights(file, load_installed_plugins().registry)
    if not isinstance(component, Backbone):
        raise FusionkitError(
            f"{file} holds a {component.kind}, not a backbone; give the file of a backbone"
        )
    return (component if exact else inference_form(component)).to(choose_device(device))


def weights_of(path: str | Path, *, offline: bool = False) -> Path:
    """Return the file of the weights that ``load`` would load.

    Args:
        path: See ``load``.
        offline: See ``load``.

    Raises:
        FusionkitError: if it does not exist.

    Example:
        >>> weights_of("emma-ir-vis").name
        'emma-ir-vis.safetensors'
    """
    if (reference := parse_reference(str(path))) is not None:
        return fetch_model(reference, offline=offline).path
    path = Path(path)
    if not path.exists():
        if len(path.parts) > 1 or path.suffix:
            raise FusionkitError(
                f"expected a run folder or weights file at {path}, found nothing; check the path"
            )
        plugins = load_installed_plugins()
        path = model_named(path.name, plugins.models, plugins.registry.hint).verify()
    if path.is_dir():
        file = path / "checkpoints" / "backbone.safetensors"
        if not file.is_file():
            raise FusionkitError(
                f"{path} holds no trained backbone ({file.relative_to(path)} is missing); "
                f"has the stage that trains it finished?"
            )
        return file
    return path


def save(component: Component, path: str | Path) -> None:
    """Save a component that was built from a configuration; ``load`` rebuilds it with its weights.

    Args:
        component: A backbone, or another network.
        path: A ``.safetensors`` file to write.

    Raises:
        FusionkitError: if the component was constructed by hand, or the file can't be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(build("backbone", name="average"), Path(folder, "average.safetensors"))
        ...     load(Path(folder, "average.safetensors")).name
        'average'
    """
    save_weights(component, Path(path))


def names_for(backbone: Backbone, sources: Collection[str]) -> dict[str, str]:
    """Return source -> the name that a backbone has for it.

    A backbone that was built for ``infrared`` and ``visible`` takes sources called ``ir`` and
    ``vi`` too, if the card of an installed model for these modalities accepts such names.

    Args:
        backbone: What will fuse the sources.
        sources: Their names, as users call them.

    Returns:
        The names; each source keeps its own if the backbone takes any or no card fits.

    Example:
        >>> names_for(load("emma-ir-vis"), ["ir", "vi"])
        {'ir': 'infrared', 'vi': 'visible'}
    """
    expected = set(backbone.modalities)
    if expected and expected != set(sources):
        for model in load_installed_plugins().models.values():
            if expected == set(model.card.modalities) and (names := names_of(model.card, sources)):
                return names
    return {name: name for name in sources}


def fuse(
    model: Backbone | str | Path,
    sources: Mapping[str, ImageLike],
    *,
    colour: str | None = None,
    colour_rule: ColourRule = "oklab",
    stretch: Stretch = "none",
    windows: Mapping[str, Window] | None = None,
    resample: bool = False,
    align: bool = False,
    name: str = "image",
) -> NDArray[Any]:
    """Fuse registered images of one scene in one pass, whatever their size.

    Luminance is fused, and the chroma of one source is put back. The result is RGB if there is such
    a source, else grey. Sources that are grey but stored as RGB give a grey (h, w) result, unless
    ``colour`` names one of them.

    Args:
        model: A backbone, on any device; or what ``load`` takes: the name of a model, a run folder
            or a ``.safetensors`` file.
        sources: Modality name -> path of a file, Pillow image, or array (h, w) or (h, w, 3) of
            uint8, uint16 or float in [0, 1]; at least 16 x 16 pixels. Names that the card of a
            model accepts (``ir`` for ``infrared``) work as on the command line.
        colour: Modality whose chroma and depth the result has; ``none`` for a grey result with
            the depth of the first source. By default it is the source with real colour (the one
            called ``visible`` if there are several, else the first of them), else ``none``.
        colour_rule: How the colour is put back under the fused luminance: ``oklab`` keeps hue and
            saturation, ``scaled`` too but blue may turn lavender where it pales, ``ycbcr`` keeps Cb
            and Cr, as most papers do.
        stretch: ``minmax`` stretches the fused luminance to the whole range, as EMMA's official
            script does before it saves; it changes EN, SD, SF and AG.
        windows: Modality -> (low, high) in the units of its pixels, or ``LOW:HIGH``,
            ``LOW%:HIGH%`` or ``full``: ``low`` becomes 0 and ``high`` becomes 1, and floats of any
            range are allowed. By default arrays and Pillow images have the range of their type,
            and files get the windows that they get on the command line.
        resample: Scale sources of unequal size but one aspect ratio to the size of the colour
            source, else of the largest; by default they are refused.
        align: Move the sources by a translation of up to 32 pixels onto the colour source, else
            onto the first, if a reliable translation is found.
        name: File stem of the scene, for backbones that look up results by it.

    Returns:
        (h, w) or (h, w, 3) with the size and dtype of the colour source or the first; floats in
        [0, 1].

    Raises:
        FusionkitError: for fewer than two sources, unequal sizes, pixels that are no image, a
            model that does not exist, or one that gives NaN.

    Example:
        >>> import numpy as np
        >>> ir, vi = np.zeros((64, 64), np.uint8), np.full((64, 64, 3), 200, np.uint8)
        >>> fuse("emma-ir-vis", {"ir": ir, "vi": vi}).shape
        (64, 64)
    """
    backbone = model if isinstance(model, Backbone) else load(model)
    names = names_for(backbone, sources)
    options = FusionOptions(
        colour=None if colour is None else names.get(colour, colour),
        colour_rule=colour_rule,
        stretch=stretch,
        windows={names.get(key, key): window for key, window in (windows or {}).items()},
        resample=resample,
        align=align,
    )
    images = {names[key]: image for key, image in sources.items()}
    return fuse_images(backbone, images, options, name=name)


def evaluate(
    fused: ImageLike,
    sources: Mapping[str, ImageLike],
    *,
    profile: str = "cddfuse",
    metrics: Sequence[str] | None = None,
) -> dict[str, float]:
    """Score one fused image against its sources.

    Args:
        fused: Path of a file, Pillow image, or array (h, w) or (h, w, 3) of 8 or 16 bits or float
            in [0, 1]. Colour is converted to grey as the profile does; the 8-bit version of the
            image is scored.
        sources: Modality name -> image of the same size.
        profile: The conventions to follow; see the table of profiles in the documentation.
        metrics: Names of metrics; by default all that are defined in the profile.

    Returns:
        Metric name -> value.

    Raises:
        FusionkitError: for an unknown metric or profile, sizes that differ, or pixels that are no
            image.

    Example:
        >>> import numpy as np
        >>> image = np.arange(256, dtype=np.uint8).reshape(16, 16)
        >>> evaluate(image, {"infrared": image, "visible": image}, metrics=["EN"])
        {'EN': 8.0}
    """
    opened = {modality: open_image(image, modality) for modality, image in sources.items()}
    chosen = metrics_of(load_installed_plugins().registry, profile, metrics)
    values = score_opened(open_image(fused, "the fused image"), opened, chosen)
    return {metric.name: value for metric, value in zip(chosen, values, strict=True)}
