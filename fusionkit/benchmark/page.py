"""The report of a benchmark: one HTML file that a person can read."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.benchmark.pictures import class_colour, draw_scene, labels_like
from fusionkit.benchmark.results import Ranks, Row, SuiteResults
from fusionkit.benchmark.scenes import Scenes
from fusionkit.benchmark.suite import SuiteConfig
from fusionkit.interfaces import Dataset
from fusionkit.io.atomic_write import write_text
from fusionkit.io.images import from_float, read_image, to_float
from fusionkit.reporting.pages import data_url, style

__all__ = ["write_page"]

_SHOWN = 3
"""Scenes of each data set and task in the grid of pictures."""


def write_page(
    folder: Path,
    config: SuiteConfig,
    results: SuiteResults,
    scenes: Mapping[str, Scenes],
    fused: Mapping[tuple[str, str], Mapping[str, Path]],
) -> None:
    """Write ``report.html``: tables, ranks, classes, pictures, and what was run.

    Args:
        folder: The folder of the benchmark.
        config: The suite.
        results: What ``results.json`` holds.
        scenes: Data sets by name.
        fused: (data set, method) -> scene id -> path of its fused image.
    """
    sections = []
    groups: dict[tuple[str, str], list[Row]] = {}
    for line in results.table:
        groups.setdefault((line.data, line.task), []).append(line)
    for (data, task), lines in groups.items():
        sections.append(f"<h2>{html.escape(data)}: {html.escape(task)}</h2>")
        overall = [line for line in lines if "/" not in line.score]
        by_class = [line for line in lines if "/" in line.score]
        sections.append(_table(overall, results.reference))
        if by_class:
            sections.append(f"<details><summary>By class</summary>{_table(by_class, '')}</details>")
        ranks = [r for r in results.ranks if (r.data, r.task) == (data, task)]
        sections += [_ranks(rank) for rank in ranks if "/" not in rank.score]
    page = files("fusionkit.benchmark").joinpath("page.html").read_text(encoding="utf-8")
    for key, value in {
        "NAME": html.escape(config.name),
        "STYLE": style(),
        "SUMMARY": _summary(config, results),
        "SECTIONS": "\n".join(sections),
        "PICTURES": _pictures(config, results, scenes, fused),
        "CONFIG": html.escape(yaml.safe_dump(config.to_dict(), sort_keys=False)),
        "ENVIRONMENT": html.escape(
            json.dumps({"versions": results.versions, "environment": results.environment}, indent=2)
        ),
    }.items():
        page = page.replace("{{" + key + "}}", value)
    write_text(folder / "report.html", page)


def _summary(config: SuiteConfig, results: SuiteResults) -> str:
    data = ", ".join(
        f"{html.escape(name)} ({values.scored} scored"
        + (f", {values.trained_on} trained on" if values.trained_on else "")
        + ")"
        for name, values in results.data.items()
    )
    colour = (
        "all methods as grey images"
        if config.colour == "none"
        else f"the colour of {html.escape(config.colour)} given to every method that sees it"
    )
    return (
        f"{len(config.methods)} methods on {data}; {colour}. Best of a column bold, second "
        f"underlined; ± is the standard deviation over what n counts. A star marks methods that "
        f"differ from <b>{html.escape(results.reference)}</b> on the same images at 5 % "
        f"(Wilcoxon's signed-rank test, adjusted by Holm); where there is none, the difference may "
        f"be chance."
    )


def _table(lines: Sequence[Row], reference: str) -> str:
    scores = list(dict.fromkeys(line.score for line in lines))
    methods = list(dict.fromkeys(line.method for line in lines))
    cells = {(line.method, line.score): line for line in lines}
    better = {line.score: "↑" if line.better == "higher" else "↓" for line in lines}
    head = "".join(f"<th>{html.escape(s)} {better[s]}</th>" for s in scores)
    rows = []
    for method in methods:
        own = ' class="own"' if method == reference else ""
        row = "".join(_cell(cells.get((method, score))) for score in scores)
        rows.append(f"<tr{own}><th>{html.escape(method)}</th>{row}</tr>")
    counts = sorted({f"{line.n} {line.over}" for line in lines})
    return (
        f"<table><thead><tr><th>method</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        f"</table><p class=note>n = {' or '.join(counts)}.</p>"
    )


def _cell(line: Row | None) -> str:
    if line is None:
        return "<td>–</td>"
    classes = [{1: "best", 2: "second"}.get(line.place, "")]
    if line.p is not None and line.p < 0.05:
        classes.append("differs")
    spread = "" if line.std is None else f" <small>± {line.std:.3f}</small>"
    title = "" if line.p is None else f' title="p = {line.p:.3g}"'
    marks = " ".join(filter(None, classes))
    return f'<td class="{marks}"{title}>{line.mean:.3f}{spread}</td>'


def _ranks(rank: Ranks) -> str:
    """Draw mean ranks on a line; a bar as long as the critical difference joins what may be alike.

    Demsar (JMLR 2006), figure 1.
    """
    ordered = sorted(rank.ranks.items(), key=lambda item: item[1])
    count, cd = len(ordered), rank.difference
    width, left = 760, 170

    def place(value: float) -> float:
        return left + (value - 1) / max(1, count - 1) * (width - 2 * left)

    parts = [f'<line x1="{place(1)}" x2="{place(count)}" y1="40" y2="40"/>']
    for tick in range(1, count + 1):
        parts.append(f'<line x1="{place(tick)}" x2="{place(tick)}" y1="36" y2="40"/>')
        parts.append(f'<text x="{place(tick)}" y="30" text-anchor="middle">{tick}</text>')
    y = 50
    reached = 0.0
    for index, (_, low) in enumerate(ordered):
        high = max(value for _, value in ordered[index:] if value - low <= cd)
        if high > low and high > reached:
            parts.append(
                f'<line class="bar" x1="{place(low) - 3:.1f}" x2="{place(high) + 3:.1f}" '
                f'y1="{y}" y2="{y}"/>'
            )
            reached, y = high, y + 7
    y += 12
    for index, (name, value) in enumerate(ordered):
        row = y + 16 * (index if index < (count + 1) // 2 else count - 1 - index)
        is_left = index < (count + 1) // 2
        end, anchor = (2, "start") if is_left else (width - 2, "end")
        parts.append(
            f'<polyline points="{place(value):.1f},40 {place(value):.1f},{row} {end},{row}" '
            f'fill="none" stroke="#59636e" stroke-width="0.7"/>'
            f'<text x="{end}" y="{row - 3}" text-anchor="{anchor}">{html.escape(name)} '
            f"({value:.1f})</text>"
        )
    height = y + 16 * ((count + 1) // 2) + 4
    return (
        f"<h3>{html.escape(rank.score)}: mean ranks over {rank.images} images</h3>"
        f'<svg class="ranks" viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'
        f"<p class=note>Critical difference {cd:.2f} (Nemenyi, 5 %); Friedman's test p = "
        f"{rank.p:.2g}. Methods joined by a bar can't be told apart by so many images.</p>"
    )


def _pictures(
    config: SuiteConfig,
    results: SuiteResults,
    scenes: Mapping[str, Scenes],
    fused: Mapping[tuple[str, str], Mapping[str, Path]],
) -> str:
    parts = []
    for data, set_ in scenes.items():
        methods = [name for name in config.methods if (data, name) in fused]
        dataset = set_.dataset
        shown = set_.test[:: max(1, len(set_.test) // _SHOWN)][:_SHOWN]
        tasks: dict[str, dict[str, Mapping[str, Tensor]]] = {}
        for cell in results.cells:
            if cell.data == data and cell.result.predictions:
                predictions = tasks.setdefault(cell.task, {})
                predictions.setdefault(cell.method, cell.result.predictions)
        for task, found in (tasks or {"": {}}).items():
            indices = [i for i in set_.test if any(dataset.id(i) in p for p in found.values())]
            cells: list[str] = []
            for index in indices[:_SHOWN] or shown:
                sample = dataset[index]
                one = next((p[sample.id] for p in found.values() if sample.id in p), None)
                if one is not None:
                    # On the mean of the sources, where what either sensor sees is seen.
                    mean = torch.stack([sample.images[m][0] for m in config.modalities]).mean(dim=0)
                    drawn = draw_scene(from_float(mean.numpy(), "uint8"), labels_like(sample, one))
                    cells.append(_figure(drawn, "labels"))
                for method in methods:
                    image = read_image(fused[data, method][sample.id])
                    prediction = found.get(method, {}).get(sample.id)
                    drawn = draw_scene(from_float(to_float(image), "uint8"), prediction)
                    cells.append(_figure(drawn, method))
            columns = len(methods) + bool(indices)
            legend = _legend(dataset, found) if indices else ""
            title = f"{data}: {task}" if task else data
            parts.append(
                f"<h3>{html.escape(title)}</h3>{legend}<div class=grid style="
                f'"grid-template-columns:repeat({columns},minmax(110px,1fr))">'
                + "".join(cells)
                + "</div>"
            )
    return "\n".join(parts)


def _figure(picture: NDArray[Any], caption: str) -> str:
    caption = html.escape(caption)
    return f'<div><img src="{data_url(picture)}" alt="{caption}">{caption}</div>'


def _legend(dataset: Dataset, found: Mapping[str, Mapping[str, Tensor]]) -> str:
    """Return the names of the classes in their colours."""
    masks = any(not one.is_floating_point() for own in found.values() for one in own.values())
    names = dataset.mask_classes if masks else dataset.box_classes
    swatches = (
        f'<span><i style="background:rgb{class_colour(kind)}"></i>{html.escape(name)}</span>'
        for kind, name in enumerate(names)
    )
    return f"<p class=legend>{''.join(swatches)}</p>"
