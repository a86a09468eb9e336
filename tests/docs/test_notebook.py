"""The notebook runs from top to bottom, offline, and shows what it says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="running the notebook takes nbclient: .[test]")
nbformat = pytest.importorskip("nbformat", reason="reading the notebook takes nbformat: .[test]")
pytest.importorskip("ipykernel", reason="running the notebook takes ipykernel: .[notebook]")

DOCS = Path(__file__).parents[2] / "docs"
PATH = DOCS / "notebook.ipynb"


def read() -> Any:
    return nbformat.read(PATH, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Cell id -> its outputs, run in an empty folder."""
    notebook = read()
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}},
    )
    client.execute()
    return {cell.id: cell.get("outputs", []) for cell in notebook.cells}


def shown(outputs: Any, kind: str) -> list[str]:
    """Return what was displayed of a MIME type."""
    return [o.data[kind] for o in outputs if "data" in o and kind in o.data]


def rows(outputs: Any) -> dict[str, dict[str, float]]:
    """Return the one table among the outputs: row -> column -> value."""
    (text,) = shown(outputs, "text/markdown")
    (_, *columns), _, *lines = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()
    )
    return {name: dict(zip(columns, map(float, values), strict=True)) for name, *values in lines}


def test_it_is_valid_and_was_run_from_top_to_bottom():
    notebook = read()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert PATH.stat().st_size < 500_000


def test_the_page_is_the_notebook():
    spec = importlib.util.spec_from_file_location("page", DOCS / "make_notebook_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text, pictures = module.page(read())
    assert (DOCS / "notebook.md").read_text(encoding="utf-8") == text
    for path in pictures:
        assert (DOCS / path).is_file()


def test_its_committed_tables_are_those_of_today(executed):
    for cell in read().cells:
        if cell.id in ("scores", "audit"):
            committed, today = rows(cell.outputs), rows(executed[cell.id])
            assert list(committed) == list(today)
            for name, values in committed.items():
                # Another processor may round a pixel differently.
                assert values == pytest.approx(today[name], abs=0.02), name


def test_its_links_lead_somewhere():
    for cell in read().cells:
        for link in re.findall(r"\]\(([^)]+)\)", cell.source):
            assert (DOCS / link).is_file(), link


def test_it_reports_no_error_or_warning(executed):
    for outputs in executed.values():
        for output in outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output


def test_the_sources_are_files(executed):
    (output,) = executed["read"]
    assert output.text == "infrared: (256, 256), uint8\nvisible: (256, 256, 3), uint8\n"


def test_the_fused_image_is_shown_beside_its_sources_and_then_the_others(executed):
    for cell in ("beside", "others"):
        assert len(shown(executed[cell], "image/png")) == 1


def test_every_fuser_is_scored_beside_the_sources(executed):
    table = rows(executed["scores"])
    assert list(table)[:2] == ["infrared only", "visible only"]
    assert {"average", "Laplacian pyramid", "guided filter", "saliency"} <= set(table)
    for name, scores in table.items():
        assert list(scores) == ["EN", "SD", "SF", "AG", "SCD", "VIF"], name
    assert table["average"]["AG"] < table["saliency"]["AG"]


def test_every_fuser_is_audited(executed):
    table = rows(executed["audit"])
    assert list(table) == list(rows(executed["scores"]))[2:]
    assert all(list(errors) == ["reflect", "rotate", "shift"] for errors in table.values())
    # Fusing pixel by pixel commutes with whatever moves pixels.
    assert table["average"] == {"reflect": 0, "rotate": 0, "shift": 0}
    assert table["Laplacian pyramid"]["shift"] > 0
