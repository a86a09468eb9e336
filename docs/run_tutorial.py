"""Runs every block of docs/tutorial.md in order, in an empty folder: python docs/run_tutorial.py.

A block with a title is written to that file; a block of bash is run. The first failure stops the
script. The package of the tutorial is installed into the current environment and removed at the
end.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str | None, str]]:
    """Return (language, title, text) of each block."""
    return [(kind, title or None, text) for kind, title, text in BLOCK.findall(page)]


def run(page: str, folder: Path) -> None:
    """Write and run the blocks in a folder."""
    for kind, title, text in blocks(page):
        if title is not None:
            path = folder / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif kind == "bash":
            print(text, flush=True)
            subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=folder, check=True)
        else:
            raise SystemExit(f"a block of {kind} without a title: it can't be run")


def main() -> None:
    """Run the tutorial."""
    page = Path(__file__).with_name("tutorial.md").read_text(encoding="utf-8")
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(page, Path(folder))
    finally:
        uninstall = [sys.executable, "-m", "pip", "uninstall", "-q", "-y", "edge-fusion"]
        subprocess.run(uninstall, check=False)


if __name__ == "__main__":
    main()
