"""The report of a run: one HTML file that needs nothing beside it."""

from fusionkit_standard.report.stage import Report

__all__ = ["Report"]
