"""Times how long commands that do no work take to start, beside bare Python.

Each runs in a process of its own. The first turn fills the cache of installed plugins.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks.speed.measurement import Row, Size, time_in_turn

PEER = "python -c pass"
COMMANDS = {
    PEER: ["-c", "pass"],
    "import fusionkit": ["-c", "import fusionkit"],
    "fusionkit --version": ["-m", "fusionkit", "--version"],
    "fusionkit --help": ["-m", "fusionkit", "--help"],
    "fusionkit fuse --help": ["-m", "fusionkit", "fuse", "--help"],
    "fusionkit plugins list": ["-m", "fusionkit", "plugins", "list"],
    "fusionkit models": ["-m", "fusionkit", "models"],
    "import torch": ["-c", "import torch"],
}


def measure(size: Size) -> list[Row]:
    """Return the time of each command beside that of bare Python."""
    functions = {
        name: partial(subprocess.run, [sys.executable, *arguments], check=True, capture_output=True)
        for name, arguments in COMMANDS.items()
    }
    seconds = time_in_turn(functions, rounds=1 if size == "small" else 9)
    return [
        Row(f"start of `{name}`", 1e3 * time, "ms", PEER, 1e3 * seconds[PEER])
        for name, time in seconds.items()
        if name != PEER
    ]
