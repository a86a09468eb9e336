"""Measures speed against peers: ``python -m benchmarks.speed [NAME ...] [--size small|full]``.

A measurement is a module of this folder with ``measure(size: Size) -> list[Row]``. To add one,
write the module and add its name to ``MEASUREMENTS``. One thread works; peers take turns with us in
the same run, so that ratios hold on any machine.
"""

from __future__ import annotations

import argparse
import platform
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.speed.measurement import Row

MEASUREMENTS = (
    "ufuser",
    "training",
    "png",
    "classic",
    "metrics",
    "engine",
    "growth",
    "data",
    "start",
)
RESULTS = Path(__file__).parents[1] / "results" / "speed.md"
HEADER = ("what", "ours", "the peer", "ratio")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all")
    parser.add_argument("--size", choices=("small", "full"), default="full")
    parser.add_argument("--out", type=Path, default=RESULTS, help="by default %(default)s")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(MEASUREMENTS):
        parser.error(f"expected {', '.join(MEASUREMENTS)}, found {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    sections = []
    for name in arguments.names or MEASUREMENTS:
        rows = import_module(f"benchmarks.speed.{name}").measure(arguments.size)
        sections.append(f"## {name}\n\n{table(rows)}\n")
        print(sections[-1], flush=True)
    if not arguments.names:  # a part of the table must not replace the whole
        arguments.out.write_text(page(arguments.size, sections), encoding="utf-8")


def table(rows: list[Row]) -> str:
    lines = [HEADER, ("---", "---:", "---:", "---:"), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(size: str, sections: list[str]) -> str:
    about = (
        f"`python -m benchmarks.speed --size {size}` wrote this page. One thread; ours and the\n"
        f"peer take turns in one run, and medians count. Above 1, we are better.\n"
        f"PyTorch {torch.__version__}, {platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}.\n"
    )
    return "\n".join(["# Speed\n", about, *sections])


if __name__ == "__main__":
    main()
