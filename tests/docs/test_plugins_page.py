"""The plugins that docs/plugins.md shows keep the contract of their kinds."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from fusionkit.registry.plugins import load_plugins
from fusionkit.testing import check_plugin

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "least"), [("Gate", 15), ("Contrast", 6)])
def test_a_plugin_of_the_page_passes_the_check(name, least, tmp_path, monkeypatch):
    (block,) = [block for block in BLOCKS if f"class {name}(" in block]
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / f"page_{name.lower()}.py"
    path.write_text(block)
    try:
        plugins = load_plugins([], files=[path])
        assert not plugins.broken
        outcomes = [(case, outcome) for case, outcome in check_plugin(plugins, path.name)]
    finally:
        sys.modules.pop(path.stem, None)
    assert [(str(c), o.sentence) for c, o in outcomes if o.state in ("failed", "refused")] == []
    assert sum(o.state == "passed" for _, o in outcomes) >= least
