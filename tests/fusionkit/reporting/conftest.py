"""A reader of pages that complains about everything a page must not hold."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

VOID = {"meta", "img", "input", "link", "br"}
SVG_LEAVES = {"line", "polyline", "circle", "rect"}  # closed by "/>"
TEXT = {"h1", "h2", "h3", "p", "b", "small", "code", "pre", "div", "section", "span", "details"}
TABLE = {"table", "thead", "tbody", "tr", "th", "td"}
FORM = {"figure", "figcaption", "select", "option", "summary", "svg", "text"}
FRAME = {"html", "head", "title", "style", "body", "script"}
ALLOWED = VOID | SVG_LEAVES | TEXT | TABLE | FORM | FRAME


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        text: The text that a reader sees.
        images: The URL of each image.
        values: The values of all attributes.
        count: Tag -> number of elements.
    """

    def __init__(self, html: str):
        super().__init__()
        self.html = html
        self.text = ""
        self.images: list[str] = []
        self.values: list[str] = []
        self.count: dict[str, int] = {}
        self._open: list[str] = []
        self._sheets: dict[str, list[str]] = {"style": [], "script": []}
        self._policy = ""
        self.feed(html)
        self.close()
        assert not self._open
        self._check_policy()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        self.count[tag] = self.count.get(tag, 0) + 1
        for name, value in attrs:
            assert not name.startswith("on"), name
            assert name != "style"
            if name in ("src", "href"):
                assert re.fullmatch(r"data:(image/png;base64,[A-Za-z0-9+/=]+)?|data:,", value or "")
            self.values.append(value or "")
        found = dict(attrs)
        if tag == "img":
            self.images.append(found["src"] or "")
        if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy":
            self._policy = found["content"] or ""
        if tag in self._sheets:
            assert not attrs
            self._sheets[tag].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_LEAVES
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in self._sheets:
            self._sheets[self._open[-1]][-1] += data
        else:
            self.text += data

    def _check_policy(self) -> None:
        rules = dict(rule.strip().split(" ", 1) for rule in self._policy.split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["img-src"] == "data:"
        for tag, found in self._sheets.items():
            (text,) = found  # one style sheet, one script
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
            assert not re.search(r"url\(|@import|https?:|innerHTML|eval\(", text)


@pytest.fixture
def read_page() -> Callable[[str], Page]:
    """Return a function that parses a page, checks its policy, and refuses dangerous content."""
    return Page


@pytest.fixture(
    params=[
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "</style><script>alert(1)</script>",
        "</script></pre></title></select></svg><svg onload=alert(1)>",
        "javascript:alert(1)",
        "{{ 7 * 7 }}{% include 'base.html' %}",
        "&lt;b&gt; &amp; <b>",
    ]
)
def hostile(request: pytest.FixtureRequest) -> str:
    """A name that a stranger made up."""
    return request.param
