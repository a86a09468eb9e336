"""The conformance kit for pytest: ``@pytest.mark.fusionkit_plugin("NAME")`` and ``conformance``.

Every pytest in the environment loads this module, so it imports nothing until a test needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fusionkit.testing import Case


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "fusionkit_plugin(name, arguments=None): give `conformance` every check of the plugin; "
        "arguments maps (kind, name) to those of components that need some",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a marked test once for each component and check."""
    if "conformance_case" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("fusionkit_plugin")
    if marker is None:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid} asks for `conformance` without saying whose: mark it "
            f'@pytest.mark.fusionkit_plugin("NAME OF THE PLUGIN")'
        )
    from fusionkit.errors import FusionkitError
    from fusionkit.registry.plugins import load_installed_plugins
    from fusionkit.testing import cases_of

    try:
        cases = cases_of(load_installed_plugins(), *marker.args, **marker.kwargs)
    except FusionkitError as error:
        raise pytest.UsageError(str(error)) from None
    metafunc.parametrize("conformance_case", cases, ids=str)


@pytest.fixture
def conformance(conformance_case: Case) -> Callable[[], None]:
    """Return a function that runs one check of one component, or skips it with the reason."""

    def check() -> None:
        __tracebackhide__ = True
        from fusionkit.testing import NotApplicable, Refused

        try:
            conformance_case.run()
        except (NotApplicable, Refused) as reason:
            pytest.skip(str(reason))
        except AssertionError as problem:
            # Show the sentence without a traceback: the author does not need the code of the kit.
            pytest.fail(f"{conformance_case.promise}\n{problem}", pytrace=False)

    return check
