"""Identifiers of scenes."""

from __future__ import annotations

import pytest

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Sample


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd", "", ".", "a\0b"])
def test_an_id_that_leads_elsewhere_is_refused(name):
    with pytest.raises(FusionkitError):
        Sample(name, {})


@pytest.mark.parametrize("name", ["0001", "night/0001", "a b", "..a", "größe", "a.b", "a\tb"])
def test_other_names_are_kept(name):
    assert Sample(name, {}).id == name
