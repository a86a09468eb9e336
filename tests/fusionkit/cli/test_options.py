"""Options of the form NAME=VALUE."""

from __future__ import annotations

import pytest

from fusionkit.cli.options import parse_assignments
from fusionkit.errors import FusionkitError


def test_assignments_are_split():
    found = parse_assignments("--window", ["infrared=7000:9000", "visible=full"], "MODALITY=LOW")
    assert found == {"infrared": "7000:9000", "visible": "full"}
    assert parse_assignments("--window", None, "MODALITY=LOW") == {}
    for value in ("7000:9000", "=1:2", "infrared="):
        with pytest.raises(FusionkitError, match=f"--window MODALITY=LOW, found '{value}'"):
            parse_assignments("--window", [value], "MODALITY=LOW")
    with pytest.raises(FusionkitError, match=r"--window a=\.\.\. is given twice"):
        parse_assignments("--window", ["a=1:2", "a=full"], "MODALITY=LOW")
