"""A browser shows the pages without a breach of their Content-Security-Policy."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from fusionkit.evaluation.equivariance import AuditExample, AuditLine
from fusionkit.reporting.audit_report import write_audit_page
from fusionkit.reporting.pages import embed_picture
from fusionkit.reporting.run_report import (
    Collapse,
    FusedPair,
    MeanScore,
    RunReport,
    ScoredPairs,
    Scores,
    TrainingPairs,
    render_run_report,
    score_table,
    training_charts,
)

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium")


@pytest.fixture
def browse(tmp_path):
    """Return a function that shows a page and returns what became of it and what was logged."""

    def show(html: str) -> tuple[str, str]:
        page = tmp_path / "page.html"
        page.write_text(html)
        command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
        command += ["--dump-dom", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        return done.stdout, done.stderr

    return show


@pytest.fixture
def report():
    picture = embed_picture(np.zeros((8, 12), np.uint8), "infrared")
    return render_run_report(
        RunReport(
            name="shown",
            backbone="average",
            modalities=("infrared", "visible"),
            seed=0,
            trained_on=None,
            scored_on=None,
            scores=None,
            collapse=None,
            pairs=(FusedPair("street", (picture, picture), picture),),
            charts=(),
            configuration="name: shown",
            environment="{}",
        )
    )


def test_the_report_runs_its_script_and_breaks_no_rule(browse, report):
    assert 'class="over"' not in report
    page, log = browse(report)
    assert 'class="over"' in page  # the script has made the picture that the slider cuts
    assert "Content Security Policy" not in log


def test_the_audit_breaks_no_rule(browse, tmp_path):
    line = AuditLine("street", "shift", "shift by 8 rows", 0.1, 20.0, 0.2, 1.0)
    image = torch.rand(8, 12)
    write_audit_page(tmp_path, "average", [line], [AuditExample(line, image, image, image >= 0)])
    page, log = browse((tmp_path / "audit.html").read_text())
    assert "shift by 8 rows" in page
    assert "Content Security Policy" not in log


def test_a_breach_would_be_seen(browse, report):
    page, log = browse(report.replace("</body>", "<script>document.title = 'x'</script></body>"))
    assert "<title>x</title>" not in page
    assert "Content Security Policy" in log


HOSTILE = [
    "<script>document.title='ran'</script>",
    "</script><script>document.title='ran'</script>",
    "</title><script>document.title='ran'</script>",
    "\"onerror=\"document.title='ran'",
    "'><img src=x onerror=document.title='ran'>",
    "javascript:document.title='ran'",
    "<svg onload=document.title='ran'>",
    "<iframe srcdoc=\"<script>parent.document.title='ran'</script>\">",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "\u202egnp.ti\u2066",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "&lt;b&gt;\x1b]0;ran\x07",
]


class Elements(HTMLParser):
    """What a page consists of, as Python's own parser sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.title = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        if self.tags[-1:] == ["title"] and not self.title:
            self.title = data


def test_hostile_names_run_nothing(browse):
    """Strangers name files, modalities, scores, stages; all of them stand on the page as text."""
    black = np.zeros((8, 12), np.uint8)
    everything = "".join(HOSTILE)
    charts = training_charts(
        {"stage": name, "step": step, name: float(step)} for name in HOSTILE for step in (1, 2)
    )
    scores = score_table(
        {name: {"EN": MeanScore(1.0, 0.5)} for name in HOSTILE}, {"EN": "higher"}, HOSTILE[0]
    )
    page = render_run_report(
        RunReport(
            name=everything,
            backbone=everything,
            modalities=tuple(HOSTILE),
            seed=0,
            trained_on=TrainingPairs(everything, 1),
            scored_on=ScoredPairs(everything, 1, held_out=True),
            scores=Scores(scores, 1, everything),
            collapse=Collapse(everything, scores),
            pairs=tuple(
                FusedPair(name, (embed_picture(black, name),) * 2, embed_picture(black, name))
                for name in HOSTILE
            ),
            charts=charts,
            configuration=everything,
            environment=everything,
        )
    )
    shown, log = browse(page)
    parser = Elements()
    parser.feed(shown)
    assert parser.title.startswith(everything)
    assert "Content Security Policy" not in log  # nothing even tried
    assert 'class="over"' in shown  # the page's own script has run
    assert parser.tags.count("script") == 1
    assert not {"iframe", "object", "embed", "base", "form"} & set(parser.tags)
    assert not [name for name, _ in parser.attributes if name.startswith("on")]
    links = [value for name, value in parser.attributes if name in ("href", "src", "srcdoc")]
    assert all(value.startswith(("data:", "#")) for value in links)
