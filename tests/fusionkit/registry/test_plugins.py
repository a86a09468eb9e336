"""Each plugin is loaded on its own: the broken ones are named and hurt nobody else."""

from __future__ import annotations

import pytest

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.registry.plugins import load_plugins

STRANGER = """
import torch
from fusionkit import hookimpl
from fusionkit.interfaces import Backbone

class Gate(Backbone):
    "A learned per-pixel gate between two sources."
    name = "NAME"
    stride = 1
    def __init__(self, width: int = 4):
        super().__init__()
        self.width = width
        self.weight = torch.nn.Parameter(torch.zeros(()))
    def forward(self, sources):
        first, second = sources.values()
        gate = self.weight.sigmoid()
        return gate * first + (1 - gate) * second

@hookimpl
def fusionkit_components():
    return [Gate]
"""


def test_a_stranger_is_found_and_built(make_plugin):
    plugins = load_plugins([make_plugin("stranger", STRANGER.replace("NAME", "stranger-gate"))])
    assert not plugins.broken
    entry = plugins.registry.get("backbone", "stranger-gate")
    assert entry.plugin == "plugin-stranger"
    assert entry.summary == "A learned per-pixel gate between two sources."


def test_a_plugin_that_fails_to_import_is_named_and_skipped(make_plugin):
    good = make_plugin("good", STRANGER.replace("NAME", "gate"))
    bad = make_plugin("bad", "raise RuntimeError('no licence\\nfound')")
    plugins = load_plugins([bad, good])
    assert [p.name for p in plugins.broken] == ["plugin-bad"]
    assert plugins.broken[0].error == "RuntimeError: no licence found"
    assert plugins.registry.names("backbone") == ["gate"]


def test_two_plugins_of_one_name_are_both_named(make_plugin):
    first = make_plugin("first", STRANGER.replace("NAME", "gate"))
    second = make_plugin("second", STRANGER.replace("NAME", "gate"))
    plugins = load_plugins([first, second])
    error = plugins.broken[0].error
    assert error is not None
    assert "two plugins bring the backbone 'gate': plugin-first and plugin-second" in error
    assert plugins.registry.get("backbone", "gate").plugin == "plugin-first"


def test_a_misspelt_hook_is_an_error_with_the_right_spelling(make_plugin):
    code = STRANGER.replace("NAME", "gate").replace("fusionkit_components", "fusionkit_component")
    plugins = load_plugins([make_plugin("typo", code)])
    assert plugins.broken[0].error == (
        "typo.fusionkit_component implements no hook of fusionkit; "
        "did you mean 'fusionkit_components'?"
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class X: name = 'x'", "X is not a component: it must be a subclass of one of Backbone"),
        ("class X(Backbone):\n    def forward(self, s): return s", "X needs a class attribute"),
        ("class X(Backbone):\n    name = 'x'", "X does not implement forward"),
        (
            "class X(Backbone):\n    name = 'x'\n    def forward(self, s): return s\n"
            "    def __init__(self, **extra: int): pass",
            "__init__ can't take \\*\\*extra",
        ),
        (
            "class X(Backbone):\n    name = 'x'\n    def forward(self, s): return s\n"
            "    def __init__(self, width=3): pass",
            "the argument 'width' has no type",
        ),
        (
            "class X(Loss):\n    name = 'x'\n    def forward(self, s): return s\n"
            "    def __init__(self, weight: float = 1.0): pass",
            "the argument 'weight' clashes with a key",
        ),
        (
            "class X(Metric):\n    name = 'x'\n    profiles = ('mine',)\n"
            "    profile = 'mine'\n    def __call__(self, f, s): return f",
            "X needs a class attribute `higher_is_better`",
        ),
        (
            "class X(Metric):\n    name = 'x'\n    higher_is_better = True\n"
            "    def __call__(self, f, s): return f",
            "X needs a class attribute `profiles`",
        ),
        (
            "class X(Metric):\n    name = 'x'\n    higher_is_better = True\n"
            "    profiles = 'mine'\n    def __call__(self, f, s): return f",
            "X needs a class attribute `profiles`.*found 'mine'",
        ),
        (
            "class X(Metric):\n    name = 'x'\n    higher_is_better = True\n"
            "    profiles = ('mine',)\n    def __call__(self, f, s): return f",
            "X needs a class attribute `profile`",
        ),
    ],
)
def test_what_is_no_component_is_explained(make_plugin, code, message):
    module = (
        "from fusionkit import hookimpl\nfrom fusionkit.interfaces import Backbone, Loss, Metric\n"
        f"{code}\n@hookimpl\ndef fusionkit_components():\n    return [X]\n"
    )
    plugins = load_plugins([make_plugin("odd", module)])
    with pytest.raises(FusionkitError, match=message):
        raise FusionkitError(plugins.broken[0].error)


def test_a_broken_plugin_leaves_nothing_behind(make_plugin):
    code = STRANGER.replace("NAME", "gate").replace("[Gate]", "[Gate, int]")
    plugins = load_plugins([make_plugin("half", code)])
    assert plugins.broken
    assert not list(plugins.registry)
    assert not plugins.manager.has_plugin("plugin-half")


def test_unknown_names_are_answered_with_the_nearest():
    plugins = load_plugins()
    with pytest.raises(FusionkitError, match=r"no backbone 'ufusr' is installed .*mean 'ufuser'"):
        plugins.registry.get("backbone", "ufusr")
    with pytest.raises(FusionkitError, match="no kind of component is called 'backbon'"):
        plugins.registry.get("backbon", "ufuser")
    with pytest.raises(FusionkitError, match=r"ema\.yaml is neither .*mean 'emma\.yaml'"):
        plugins.recipe("ema.yaml")


def test_modalities_that_nobody_gives_are_asked_for(tmp_path):
    with pytest.raises(FusionkitError, match=r"'paired-folders': modalities comes from the run"):
        fk.build("dataset", name="paired-folders", root=str(tmp_path))


def test_all_default_plugins_load():
    plugins = load_plugins()
    assert not plugins.broken
    assert {"ufuser", "average", "max", "laplacian-pyramid", "wavelet", "guided-filter"} <= set(
        plugins.registry.names("backbone")
    )
    assert plugins.registry.names("sensor") == ["unet"]
    assert plugins.registry.names("transform") == ["d4", "reflect", "rotate", "shift"]
    assert {"scenes", "paired-folders"} <= set(plugins.registry.names("dataset"))
    for entry in plugins.registry:
        assert entry.summary, entry


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("2", "it targets version 2 of the plugin API, this fusionkit has 1; upgrade fusionkit"),
        ("0", "it targets version 0 of the plugin API, this fusionkit serves 1 to 1; upgrade the"),
        ("'new'", "FUSIONKIT_API: expected a whole number, found 'new'"),
    ],
)
def test_another_version_of_the_api_is_refused_before_its_hooks_are_looked_at(
    make_plugin, target, message
):
    # A hook of a later version would else be called a misspelling.
    code = STRANGER.replace("NAME", "gate").replace("fusionkit_components", "fusionkit_later")
    code += f"\nFUSIONKIT_API = {target}\n"
    good = make_plugin("good", STRANGER.replace("NAME", "other") + "\nFUSIONKIT_API = 1\n")
    plugins = load_plugins([make_plugin("other_api", code), good])
    assert [p.name for p in plugins.broken] == ["plugin-other_api"]
    assert plugins.broken[0].error is not None
    assert plugins.broken[0].error.startswith(message)
    assert plugins.registry.names("backbone") == ["other"]
