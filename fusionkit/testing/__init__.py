"""The conformance kit: the contract of each kind of component, as checks.

On the command line: ``fusionkit plugins check PACKAGE``. In a test file of the plugin::

    import pytest


    @pytest.mark.fusionkit_plugin("fusionkit-stranger")
    def test_contract(conformance):
        conformance()

pytest runs this test once for each component and check. In Python use :func:`cases_of`.
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
