"""HTML pages for runs, benchmarks and audits: one set of templates, one style sheet.

A page is a dataclass of plain values (:class:`~fusionkit.reporting.run_report.RunReport`,
:class:`~fusionkit.reporting.benchmark_report.BenchmarkReport`,
:class:`~fusionkit.reporting.audit_report.AuditReport`) and a template that shows it. Values appear
in the text and in quoted attributes only, always escaped, never in a script, a style or a link.
"""
