"""``fusionkit export``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.application import app
from fusionkit.cli.options import PluginFiles
from fusionkit.errors import FusionkitError

logger = logging.getLogger("fusionkit")


@app.command()
def export(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="File to write: `.onnx`, or `.xml` for OpenVINO, which puts a `.bin` beside it.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Trained model: a run folder, a .safetensors file, or a name that "
            "`fusionkit models` lists.",
        ),
    ],
    modality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY",
            help="Input of the network; repeat the option in the order of the inputs. By default "
            "the modalities of the model.",
        ),
    ] = None,
    plugin_files: PluginFiles = None,
) -> None:
    """Export a trained model as ONNX, or for OpenVINO.

    The exported network takes the luminance of each modality in images of any size and returns
    the fused luminance. The command compares it with PyTorch before it writes the file.

    The file is a model for `fusionkit fuse --model FILE` too.

    Examples:

    ```bash
    fusionkit export --model emma-ir-vis emma-ir-vis.onnx
    fusionkit export --model emma-ir-vis emma-ir-vis.xml
    ```
    """
    from fusionkit.api import load
    from fusionkit.inference.onnx_export import export_onnx
    from fusionkit.inference.openvino_export import export_openvino
    from fusionkit.io.atomic_write import make_folder

    writers = {".onnx": export_onnx, ".xml": export_openvino}
    if out.suffix not in writers:
        raise FusionkitError(f"the output must be an .onnx or .xml file, found {out}")
    network = load(model, exact=True)
    make_folder(out.parent)
    write = writers[out.suffix]
    names = write(network, out, modality)
    files = [out, out.with_suffix(".bin")] if out.suffix == ".xml" else [out]
    size = sum(file.stat().st_size for file in files) / 1e6
    logger.info("%s: %s -> fused, %.1f MB", out, ", ".join(names), size)
