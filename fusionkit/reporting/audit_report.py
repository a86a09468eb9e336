"""The page of an equivariance audit: errors by group, and where they are largest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionkit.evaluation.equivariance import (
    AuditExample,
    AuditLine,
    example_pictures,
    summarize_audit,
)
from fusionkit.io.atomic_write import make_folder, write_text
from fusionkit.reporting.pages import Picture, embed_picture, render_page
from fusionkit.reporting.tables import Cell, Row, Table

__all__ = ["AuditReport", "ShownElement", "audit_table", "render_audit_report", "write_audit_page"]


@dataclass(frozen=True)
class ShownElement:
    """Pictures of both sides of the equation, for one element.

    Attributes:
        group: Name of the transform group.
        element: The element, with its parameters.
        image: Name of the scene.
        rmse: Root mean square error over the valid pixels, in units of the range [0, 1].
        worst: Largest difference at a valid pixel.
        valid: Share of the pixels that are valid.
        pictures: T F(x), F(T x) and their difference.
    """

    group: str
    element: str
    image: str
    rmse: float
    worst: float
    valid: float
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class AuditReport:
    """All that the page of an audit shows.

    Attributes:
        name: Name of the fusion network.
        images: Number of image pairs.
        seed: Random seed of the elements.
        table: One row per group.
        examples: The elements to show.
    """

    name: str
    images: int
    seed: int
    table: Table
    examples: tuple[ShownElement, ...]


def audit_table(lines: Sequence[AuditLine]) -> Table:
    """Return the errors by group.

    Args:
        lines: The audit, one line per image and element.

    Example:
        >>> line = AuditLine("a", "shift", "shift by 3, 4", 0.01, 40.0, 0.2, 1.0)
        >>> [cell.text for cell in audit_table([line]).rows[0].cells]
        ['1', '1.00e-02', '40.0', '2.00e-01']
    """
    return Table(
        ("group", "elements", "RMSE", "PSNR / dB", "worst"),
        tuple(
            Row(
                group,
                (
                    Cell(f"{error.elements}"),
                    Cell(f"{error.rmse:.2e}"),
                    Cell("∞" if math.isinf(error.psnr) else f"{error.psnr:.1f}"),
                    Cell(f"{error.worst:.2e}"),
                ),
            )
            for group, error in summarize_audit(lines).items()
        ),
    )


def render_audit_report(report: AuditReport) -> str:
    """Return the page as one HTML file that needs nothing beside it.

    Example:
        >>> page = render_audit_report(AuditReport("net", 3, 0, Table((), ()), ()))
        >>> "Equivariance of net" in page
        True
    """
    return render_page("audit.html", report)


def write_audit_page(
    folder: Path,
    name: str,
    lines: Sequence[AuditLine],
    examples: Sequence[AuditExample],
    *,
    seed: int = 0,
) -> None:
    """Write ``audit.html``.

    Args:
        folder: The folder; created if it does not exist.
        name: Name of the fusion network.
        lines: The audit, one line per image and element.
        examples: The element with the largest error of each group.
        seed: Random seed of the elements.

    Raises:
        FusionkitError: if the folder can't be written.

    Example:
        >>> import tempfile
        >>> line = AuditLine("a", "shift", "by 3 rows", 0.01, 40.0, 0.2, 1.0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_audit_page(Path(folder), "average", [line], [])
        ...     [path.name for path in Path(folder).iterdir()]
        ['audit.html']
    """
    make_folder(folder)
    captions = ("T F(x)", "F(T x)", "difference, ten times as bright")
    report = AuditReport(
        name,
        len({line.image for line in lines}),
        seed,
        audit_table(lines),
        tuple(
            ShownElement(
                group=example.line.group,
                element=example.line.element,
                image=example.line.image,
                rmse=example.line.rmse,
                worst=example.line.worst,
                valid=example.line.valid,
                pictures=tuple(
                    embed_picture(pixels, caption)
                    for pixels, caption in zip(example_pictures(example), captions, strict=True)
                ),
            )
            for example in examples
        ),
    )
    write_text(folder / "audit.html", render_audit_report(report))
