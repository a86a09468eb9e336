"""Pages: pictures inside the file, a policy that fits, templates that know no method."""

from __future__ import annotations

import base64
import io
import re
from importlib.resources import files

import jinja2
import numpy as np
import pytest
from PIL import Image

from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.reporting.pages import embed_picture, render_page

TEMPLATES = {
    path.name: path.read_text()
    for path in files("fusionkit.reporting").joinpath("templates").iterdir()
}


def test_pictures_are_inside_the_page():
    pixels = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    picture = embed_picture(pixels, "fused")
    assert (picture.width, picture.height, picture.caption) == (8, 6, "fused")
    image = Image.open(io.BytesIO(base64.b64decode(picture.url.partition(",")[2])))
    assert np.array_equal(np.asarray(image), pixels >> 8)


def test_a_template_must_not_use_what_the_page_does_not_have():
    with pytest.raises(jinja2.UndefinedError):
        render_page("run.html", object())


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_switch_no_protection_off(name):
    text = TEMPLATES[name]
    assert not re.search(r"\|\s*safe\b|autoescape|unsafe-", text)
    if name.endswith(".html"):
        assert not re.search(r"\s(style|on\w+)=", text)
        # every attribute with a value in it is quoted
        assert not re.search(r"\w=\{\{", text)


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_name_no_method(name):
    registry = load_installed_plugins().registry
    words = {"average", "max", "folder", "fuse", "report", "evaluate"}  # plain English, too
    names = {n for kind in ("backbone", "sensor", "stage") for n in registry.names(kind)} - words
    assert {"ufuser", "unet", "train-backbone"} <= names
    found = set(re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", TEMPLATES[name]))
    assert not names & found
