"""Times `fusionkit plugins list` against bare Python and torch: python benchmarks/speed/listing.py.

The three commands take turns, each in its own process; the first listing fills the cache.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 7
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "fusionkit plugins list": [
        sys.executable,
        "-c",
        "import sys; sys.argv = ['fusionkit', 'plugins', 'list']; "
        "from fusionkit.cli import main; main()",
    ],
    'python -c "import torch"': [sys.executable, "-c", "import torch"],
}


def main() -> None:
    subprocess.run(COMMANDS["fusionkit plugins list"], check=True, capture_output=True)
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    for name, found in seconds.items():
        print(f"{name}: median {statistics.median(found):.2f} s, worst {max(found):.2f} s")


if __name__ == "__main__":
    main()
