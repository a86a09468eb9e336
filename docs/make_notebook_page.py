"""Runs docs/notebook.ipynb and writes its outputs into it, and docs/notebook.md with pictures.

    python docs/make_notebook_page.py

It needs the extras ``notebook`` and ``test``. The notebook renders its own images, so
its outputs contain nobody else's pictures.
"""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

DOCS = Path(__file__).parent
NOTEBOOK = DOCS / "notebook.ipynb"
IMAGES = "images/notebook"
NOTE = """*This page is [notebook.ipynb](notebook.ipynb) with its outputs, made by
`docs/make_notebook_page.py`. It renders its own images, so you can run it without a download:
open it in Jupyter or in an editor that runs notebooks.*"""


def execute(notebook: Any, folder: Path) -> None:
    """Run a notebook from top to bottom in a folder; the outputs replace those in it."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    client.execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).pop("image/png", None):
                output.data["image/jpeg"] = to_jpeg(png)
    notebook.metadata.get("language_info", {}).pop("version", None)


def page(notebook: Any) -> tuple[str, dict[str, bytes]]:
    """Return the notebook as Markdown, and its pictures by their path beside the page."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for number, output in enumerate(cell.outputs):
            data = output.get("data", {})
            if "image/jpeg" in data:
                path = f"{IMAGES}/{cell.id}-{number}.jpg"
                pictures[path] = base64.b64decode(data["image/jpeg"])
                parts.append(f"![Output of the cell above]({path})")
            elif "text/markdown" in data:
                parts.append(data["text/markdown"].strip())
            else:
                text = output.text if "text" in output else data["text/plain"]
                parts.append(f"```text\n{text.rstrip()}\n```")
    parts.insert(1, NOTE)
    return "\n\n".join(parts) + "\n", pictures


def to_jpeg(png: str) -> str:
    """Return a picture as JPEG, a tenth of the size; both are in base64."""
    data = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    image.save(data, "JPEG", quality=88, optimize=True)
    return base64.b64encode(data.getvalue()).decode()


def main() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    nbformat.write(notebook, NOTEBOOK)
    text, pictures = page(notebook)
    for path, data in pictures.items():
        (DOCS / path).parent.mkdir(exist_ok=True)
        (DOCS / path).write_bytes(data)
    (DOCS / "notebook.md").write_text(text, encoding="utf-8")
    print(DOCS / "notebook.md")


if __name__ == "__main__":
    main()
