"""Which plugins the user disabled, and which Python files the user loads as plugins.

Both are kept in the environment, so that worker processes and the processes of a multi-device run
see them too. Nothing here imports torch.
"""

from __future__ import annotations

import os
from pathlib import Path

from fusionkit.errors import FusionkitError

__all__ = ["DISABLE", "FILES", "GROUP", "is_named", "listed", "load_plugin", "plugin_files"]

GROUP = "fusionkit"
"""The entry-point group in which a package declares its plugins."""

DISABLE = "FUSIONKIT_DISABLE_PLUGINS"
"""Environment variable with the names of plugins to leave out, separated by commas."""

FILES = "FUSIONKIT_PLUGIN_FILES"
"""Environment variable with the paths of plugin files, separated like ``PATH``."""


def load_plugin(path: str | Path) -> None:
    """Load a Python file as a plugin, like the option ``--plugin``.

    Every component class that the file defines is registered, and its hooks are called. The
    components can then be used by name, as if a package had installed them. The path is added to
    the environment variable ``FUSIONKIT_PLUGIN_FILES``, so that child processes load the file too;
    the folder of the file is appended to ``sys.path``.

    Args:
        path: A ``.py`` file. Loading a file twice has no effect.

    Raises:
        FusionkitError: if the file does not exist. Its content is checked when a command or a
            function first looks a component up.

    Example:
        >>> import fusionkit as fk
        >>> load_plugin("mine.py")  # doctest: +SKIP
        >>> fk.build("backbone", name="mine")  # doctest: +SKIP
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise FusionkitError(f"there is no plugin file {path}")
    files = plugin_files(os.environ.get(FILES, ""))
    if file not in files:
        os.environ[FILES] = os.pathsep.join(map(str, [*files, file]))


def plugin_files(text: str) -> list[Path]:
    """Return the paths in the value of the environment variable.

    Example:
        >>> [file.name for file in plugin_files(os.pathsep.join(["/a/mine.py", "/b/other.py"]))]
        ['mine.py', 'other.py']
    """
    return [Path(part).resolve() for part in text.split(os.pathsep) if part]


def listed(text: str) -> list[str]:
    """Return the names in a list that is separated by commas.

    Example:
        >>> listed("fusionkit-timm, my-plugin")
        ['fusionkit-timm', 'my-plugin']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def is_named(wanted: str, *names: str) -> bool:
    """Return whether a name means one of the names; hyphens, underscores and case do not matter.

    Example:
        >>> is_named("my_plugin", "My-Plugin")
        True
    """
    return _folded(wanted) in map(_folded, names)


def _folded(name: str) -> str:
    return name.replace("_", "-").lower()
