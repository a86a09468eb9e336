"""What ``fusionkit --help`` and ``fusionkit --version`` print, without importing the commands."""

from __future__ import annotations

import fusionkit

__all__ = ["COMMANDS", "overview", "version"]

COMMANDS = {
    "fuse": "Fuse images of one scene, folders of them, or videos.",
    "run": "Train, fuse, evaluate and report as a recipe says.",
    "metrics": "Score fused images against their sources.",
    "bench": "Compare fusion methods on data sets by tasks.",
    "audit": "Measure the equivariance of a fuser.",
    "export": "Export a trained model as ONNX, or for OpenVINO.",
    "convert": "Convert published weights to a model that `fusionkit fuse` loads.",
    "split": "Write a split of a data set as a manifest.",
    "schema": "Print the JSON schema of recipes.",
    "doctor": "Check the installation: versions, devices and plugins.",
    "models": "List, describe and publish trained models.",
    "data": "List, download and check published data sets.",
    "plugins": "List, show, check and create plugins.",
}
"""Command -> the first sentence of its help."""

_TEXT = """\
Usage: fusionkit COMMAND [OPTIONS] [ARGUMENTS]

Fuse images of several modalities into one; train and compare fusion networks.

Commands:
{commands}

Options:
  --version   Print the version and exit.
  -h, --help  Print this help and exit.

Each command explains itself: fusionkit fuse --help

Examples:
  fusionkit fuse --source infrared=ir/ --source visible=vi/ -o fused/
  fusionkit run emma.yaml"""


def overview() -> str:
    """Return the commands, with a line for each.

    Example:
        >>> print(overview().splitlines()[0])
        Usage: fusionkit COMMAND [OPTIONS] [ARGUMENTS]
    """
    width = max(len(name) for name in COMMANDS)
    lines = (f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items())
    return _TEXT.format(commands="\n".join(lines))


def version() -> str:
    """Return the name and the version of the package.

    Example:
        >>> version().split()[0]
        'fusionkit'
    """
    return f"fusionkit {fusionkit.__version__}"
