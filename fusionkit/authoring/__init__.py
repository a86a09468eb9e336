"""Writes the package that a plugin's author starts from."""

from fusionkit.authoring.package import NEW_KINDS, write_package

__all__ = ["NEW_KINDS", "write_package"]
