"""``fusionkit export``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.app import app
from fusionkit.cli.options import PluginFiles

logger = logging.getLogger("fusionkit")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="File to write.")],
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
    """Export a trained model as ONNX.

    The exported network takes the luminance of each modality in images of any size and returns
    the fused luminance. The command compares it with PyTorch before it writes the file.

    Example:

    ```bash
    fusionkit export --model emma-ir-vis emma-ir-vis.onnx
    ```
    """
    from fusionkit.api import load
    from fusionkit.inference.onnx_export import export_onnx
    from fusionkit.io.atomic_write import make_folder

    network = load(model, exact=True)
    make_folder(out.parent)
    names = export_onnx(network, out, modality)
    logger.info("%s: %s -> fused, %.1f MB", out, ", ".join(names), out.stat().st_size / 1e6)
