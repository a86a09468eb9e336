"""The page of an audit: the errors by group, the pictures, any names."""

from __future__ import annotations

import torch

from fusionkit.evaluation.equivariance import AuditExample, AuditLine
from fusionkit.reporting.audit_report import audit_table, write_audit_page


def make_line(name: str, rmse: float = 0.1) -> AuditLine:
    return AuditLine(name, name, name, rmse, 20.0 if rmse else float("inf"), 2 * rmse, 0.75)


def make_example(name: str) -> AuditExample:
    ramp = torch.linspace(0, 1, 12).reshape(3, 4)
    return AuditExample(make_line(name), ramp, ramp.flip(0), ramp > 0)


def test_names_from_strangers_stay_text(tmp_path, read_page, hostile):
    for name in (hostile, "x"):
        write_audit_page(tmp_path / "out", name, [make_line(name)], [make_example(name)])
        page = read_page((tmp_path / "out" / "audit.html").read_text())
        assert page.text.count(name) >= 6  # title, heading, row, group, element, image
        assert len(page.images) == 3
        assert page.count["table"] == 1


def test_no_error_is_an_infinite_psnr():
    rows = audit_table([make_line("exact", 0.0), make_line("rough")]).rows
    assert [row.name for row in rows] == ["exact", "rough"]
    assert rows[0].cells[2].text == "∞"
    assert [cell.text for cell in rows[1].cells] == ["1", "1.00e-01", "20.0", "2.00e-01"]
