"""Stage ``report``: writes ``report.html``."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Annotated, Any

from numpy.typing import NDArray
from pydantic import Field

from fusionkit.functional.colour import join_chroma
from fusionkit.interfaces import RunContext, Sample, Stage
from fusionkit.io.atomic_write import write_text
from fusionkit.io.images import from_float, list_images, read_image
from fusionkit.reporting.pages import data_url, style
from fusionkit_standard.evaluation_pairs import select_evaluation_pairs
from fusionkit_standard.report.charts import line_chart

_PAGE = Path(__file__).parent / "page.html"


class Report(Stage):
    """Write a page that a person can read: results, pictures, curves, configuration.

    It is a single file without scripts or pictures from elsewhere.

    Args:
        pairs: How many pairs to show, spread evenly over all.
    """

    name = "report"

    def __init__(self, pairs: Annotated[int, Field(ge=0)] = 8):
        self.pairs = pairs

    def produces(self, run: RunContext) -> tuple[str, ...]:
        """The page."""
        return ("report.html",)

    def run(self, run: RunContext) -> None:
        """Write the page, on the first process."""
        if not run.is_first:
            return
        metrics = _json(run.folder / "metrics.json")
        environment = _json(run.folder / "environment.json")
        parts = {
            "NAME": html.escape(run.config.name),
            "STYLE": style(),
            "SUMMARY": _summary(run, metrics),
            "TABLE": _table(run, metrics),
            "CARRIES": _carries(run, metrics),
            "PAIRS": self._pictures(run),
            "CURVES": _curves(run),
            "CONFIG": html.escape(run.config.to_yaml()),
            "ENVIRONMENT": html.escape(json.dumps(environment, indent=2)),
        }
        page = _PAGE.read_text(encoding="utf-8")
        for key, text in parts.items():
            page = page.replace(f"{{{{{key}}}}}", text)
        write_text(run.folder / "report.html", page)

    def _pictures(self, run: RunContext) -> str:
        folder = run.folder / "fused"
        if not folder.is_dir() or self.pairs == 0:
            return "<p>No pairs were fused.</p>"
        files = list_images(folder)
        dataset, indices = select_evaluation_pairs(run)
        names = list(files)
        step = max(1, len(names) / self.pairs)
        shown = [names[int(k * step)] for k in range(min(self.pairs, len(names)))]
        by_id = {dataset[index].id: index for index in indices}
        blocks = []
        for name in shown:
            sample = dataset[by_id[name]]
            sources = {modality: data_url(_shown(sample, modality)) for modality in sample.images}
            fused = read_image(files[name])
            height, width = fused.shape[:2]
            blocks.append(_pair(name, sources, data_url(fused), width, height))
        return "\n".join(blocks)


def _shown(sample: Sample, modality: str) -> NDArray[Any]:
    """A source as its camera saw it: the visible one in its colour."""
    image = sample.images[modality]
    if modality == "visible" and sample.chroma is not None:
        return from_float(join_chroma(image, sample.chroma).movedim(0, -1).numpy(), "uint8")
    return from_float(image[0].numpy(), "uint8")


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _summary(run: RunContext, metrics: dict[str, Any]) -> str:
    config = run.config
    images = metrics.get("images", 0)
    source = config.test or config.data
    pieces = [
        f"<b>{html.escape(config.backbone.name)}</b> fuses {' + '.join(config.modalities)}",
        f"trained on <b>{html.escape(config.data.name)}</b> ({len(run.components.data)} pairs)",
    ]
    if images:
        pieces.append(f"scored on {images} pairs of <b>{html.escape(source.name)}</b>")
    return ", ".join(pieces) + f"; seed {config.seed}."


def _table(run: RunContext, metrics: dict[str, Any]) -> str:
    if not metrics:
        return "<p>There are no scores: the stage <code>evaluate</code> has not run.</p>"
    methods, better = metrics["methods"], metrics["better"]
    head = "".join(
        f"<th>{html.escape(name)} {'↑' if way == 'higher' else '↓'}</th>"
        for name, way in better.items()
    )
    rows = []
    for method, values in methods.items():
        cells = []
        for name, way in better.items():
            means = [found[name]["mean"] for found in methods.values()]
            best = max(means) if way == "higher" else min(means)
            mean, spread = values[name]["mean"], values[name]["std"]
            mark = ' class="best"' if mean == best else ""
            cells.append(f"<td{mark}>{mean:.3f} <small>± {spread:.3f}</small></td>")
        own = ' class="own"' if method == run.config.backbone.name else ""
        rows.append(f"<tr{own}><th>{html.escape(method)}</th>{''.join(cells)}</tr>")
    return (
        f"<table><thead><tr><th>method</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
        f"<p class=note>Mean ± standard deviation over {metrics['images']} pairs, profile "
        f"<code>{html.escape(metrics['profile'])}</code>, of the images as saved. "
        f"Best mean of a column in bold.</p>"
    )


def _carries(run: RunContext, metrics: dict[str, Any]) -> str:
    found = metrics.get("carries", {})
    if not found:
        return ""
    own = found[next(iter(found))]
    verdict = (
        f"<p class=bad><b>{html.escape(own['problem'])}.</b></p>"
        if own["problem"]
        else "<p class=good>No collapse: every source is carried.</p>"
    )
    modalities = run.config.modalities
    head = "".join(f"<th>gradients of {html.escape(m)}</th>" for m in modalities)
    head += "".join(f"<th>intensities of {html.escape(m)}</th>" for m in modalities)
    rows = "".join(
        f"<tr><th>{html.escape(method)}</th>"
        + "".join(f"<td>{values['gradients'][m]:.0%}</td>" for m in modalities)
        + "".join(f"<td>{values['intensities'][m]:.2f}</td>" for m in modalities)
        + f"<td>{values['unexplained']:.1%}</td></tr>"
        for method, values in found.items()
    )
    return (
        f"{verdict}<table><thead><tr><th>method</th>{head}<th>from no source</th></tr></thead>"
        f"<tbody>{rows}</tbody></table><p class=note>How much of each source's own gradients the "
        f"fused images carry; the weight of each source's intensities in them; and the part of "
        f"their gradients that no source explains (made-up texture). A copy of one source shows "
        f"100 % of it and next to nothing of the other.</p>"
    )


def _pair(name: str, sources: dict[str, str], fused: str, width: int, height: int) -> str:
    figures = "".join(
        f'<figure><img src="{url}" alt="{html.escape(m)}"><figcaption>{html.escape(m)}'
        f"</figcaption></figure>"
        for m, url in sources.items()
    )
    choices = "".join(
        f'<option value="{url}">{html.escape(m)}</option>' for m, url in sources.items()
    )
    first = next(iter(sources.values()))
    return (
        f'<section class="pair" style="--ratio:{width}/{height}"><h3>{html.escape(name)}</h3>'
        f'<div class="row">{figures}<figure><img src="{fused}" alt="fused">'
        f"<figcaption>fused</figcaption></figure>"
        f'<figure class="compare"><div class="stack"><img src="{fused}" alt="fused">'
        f'<img class="over" src="{first}" alt="source"></div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="source or fused">'
        f"<figcaption><select>{choices}</select> | fused</figcaption></figure></div></section>"
    )


def _curves(run: RunContext) -> str:
    stages: dict[str, list[dict[str, Any]]] = {}
    for line in run.log.read():
        if line["step"] > 0:
            stages.setdefault(line["stage"], []).append(line)
    charts = []
    for stage, lines in stages.items():
        series: dict[str, list[tuple[float, float]]] = {}
        for line in lines:
            for key, value in line.items():
                if key not in ("time", "stage", "step", "lr") and isinstance(value, float | int):
                    series.setdefault(key, []).append((line["step"], float(value)))
        groups: dict[str, dict[str, list[tuple[float, float]]]] = {"training": {}, "held out": {}}
        for key, points in series.items():
            groups["held out" if key.startswith("val/") else "training"][key] = points
        for group, members in groups.items():
            if members:
                charts.append(line_chart(f"{stage}, {group}", members))
    return "\n".join(charts) or "<p>Nothing was trained.</p>"
