"""Renders a page: one HTML file that loads nothing and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Picture", "embed_picture", "render_page"]


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        url: Data URL of a PNG.
        width: Width in pixels.
        height: Height in pixels.
        caption: Text below the picture.
    """

    url: str
    width: int
    height: int
    caption: str


def embed_picture(image: NDArray[Any], caption: str) -> Picture:
    """Return an image as a picture that a page can hold.

    Args:
        image: (h, w) or (h, w, 3), uint8 or uint16; 16 bits are reduced to 8.
        caption: Text below the picture.

    Example:
        >>> picture = embed_picture(np.zeros((4, 6), np.uint8), "fused")
        >>> picture.width, picture.height, picture.url[:22]
        (6, 4, 'data:image/png;base64,')
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(url, image.shape[1], image.shape[0], caption)


def render_page(template: str, page: object) -> str:
    """Return a page as HTML.

    The page carries a Content-Security-Policy that forbids every connection, every style and
    script other than the ones of this package, and inline event handlers.

    Args:
        template: File name of a template of this package.
        page: The values, as ``page`` in the template.

    Raises:
        jinja2.UndefinedError: if the template uses a value that the page does not have.

    Example:
        >>> from fusionkit.reporting.audit_report import AuditReport
        >>> from fusionkit.reporting.tables import Table
        >>> page = render_page("audit.html", AuditReport("<net>", 3, 0, Table((), ()), ()))
        >>> "Equivariance of &lt;net&gt;" in page
        True
    """
    style, script = _asset("style.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; "
        f"script-src {_source(script)}; base-uri 'none'; form-action 'none'"
    )
    # Markup marks the package's own files as safe to insert; nothing else on a page is.
    return (
        _environment()
        .get_template(template)
        .render(page=page, policy=policy, style=Markup(style), script=Markup(script))
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fusionkit.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _asset(name: str) -> str:
    return files("fusionkit.reporting").joinpath("templates", name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """Return how a policy names an inline style or script: by the hash of its text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
