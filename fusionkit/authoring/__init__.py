"""Writes the package that the author of a plugin starts from."""

from fusionkit.authoring.package import NEW_KINDS, write_package

__all__ = ["NEW_KINDS", "write_package"]
