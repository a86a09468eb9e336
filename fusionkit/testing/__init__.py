"""The conformance kit: what a component promises by its kind, as checks that say what is wrong.

On the command line: ``fusionkit plugins check PACKAGE``. In a test file of the plugin::

    import pytest


    @pytest.mark.fusionkit_plugin("fusionkit-stranger")
    def test_contract(conformance):
        conformance()

which pytest runs once for each component and check. In Python: :func:`cases_of`.
"""

from fusionkit.testing.cases import Case, Outcome, cases_of, check_plugin
from fusionkit.testing.subject import NotApplicable, Refused, Subject, expect

__all__ = [
    "Case",
    "NotApplicable",
    "Outcome",
    "Refused",
    "Subject",
    "cases_of",
    "check_plugin",
    "expect",
]
