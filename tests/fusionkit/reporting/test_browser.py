"""A browser shows the pages without a breach of their Content-Security-Policy."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import torch

from fusionkit.evaluation.equivariance import AuditExample, AuditLine
from fusionkit.reporting.audit_report import write_audit_page
from fusionkit.reporting.pages import embed_picture
from fusionkit.reporting.run_report import FusedPair, RunReport, render_run_report

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
