"""Official checkpoints, as ``torch.save`` writes them."""

from __future__ import annotations

import pickle

import pytest
import torch

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import OfficialWeights
from fusionkit.registry.official_weights import convert_official
from fusionkit.registry.plugins import load_installed_plugins, load_plugins
from fusionkit.registry.weights import load_weights
from fusionkit_emma.ufuser import UFuser

PLUGINS = load_installed_plugins()


@pytest.fixture
def official(tmp_path):
    network = UFuser()
    torch.save(network.state_dict(), tmp_path / "EMMA.pth")
    return network.eval(), tmp_path / "EMMA.pth"


@pytest.mark.parametrize("parallel", [False, True])
def test_a_state_dict_becomes_a_file_that_fuses_alike(official, tmp_path, parallel):
    network, path = official
    if parallel:
        torch.save({f"module.{k}": v for k, v in network.state_dict().items()}, path)
    convert_official(path, tmp_path / "emma.safetensors", "ufuser", PLUGINS)
    x = {m: torch.rand(1, 1, 32, 32) for m in ("infrared", "visible")}
    assert torch.equal(fk.load(tmp_path / "emma.safetensors")(x), network(x))


def test_files_of_the_wrong_kind_are_refused_and_write_nothing(official, tmp_path):
    _, path = official
    out = tmp_path / "x.safetensors"
    with pytest.raises(FusionkitError, match=r"the weights in .*EMMA.pth do not fit UNet"):
        convert_official(path, out, "unet5", PLUGINS)
    with pytest.raises(FusionkitError, match=r"ufuser, unet5.*'ufuse'; did you"):
        convert_official(path, out, "ufuse", PLUGINS)
    with pytest.raises(FusionkitError, match=r"must be a \.safetensors file"):
        convert_official(path, tmp_path / "x.pth", "ufuser", PLUGINS)
    with pytest.raises(FusionkitError, match="there is no file"):
        convert_official(tmp_path / "none.pth", out, "ufuser", PLUGINS)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(FusionkitError, match="is no PyTorch state dict"):
        convert_official(tmp_path / "text.pth", out, "ufuser", PLUGINS)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(FusionkitError, match="holds no plain state dict"):
        convert_official(tmp_path / "list.pth", out, "ufuser", PLUGINS)
    assert not out.exists()


class _Code:
    def __reduce__(self):
        return (print, ("code ran",))


def test_code_in_a_checkpoint_is_never_run(tmp_path, capsys):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(_Code()))
    with pytest.raises(FusionkitError, match="is no PyTorch state dict"):
        convert_official(tmp_path / "evil.pth", tmp_path / "x.safetensors", "ufuser", PLUGINS)
    torch.save(_Code(), tmp_path / "evil.pth")
    with pytest.raises(FusionkitError, match="is no PyTorch state dict"):
        convert_official(tmp_path / "evil.pth", tmp_path / "x.safetensors", "ufuser", PLUGINS)
    assert "code ran" not in capsys.readouterr().out


BRINGS = """
from fusionkit import hookimpl
from fusionkit.interfaces import Backbone, OfficialWeights
from torch import nn

class Deep(Backbone):
    "One convolution."
    name = "deep-NAME"
    def __init__(self, width: int = 1):
        super().__init__()
        self.layer = nn.Conv2d(2, width, 1)
    def forward(self, sources):
        return self.layer(next(iter(sources.values())))

@hookimpl
def fusionkit_components():
    return [Deep]

@hookimpl
def fusionkit_official_weights():
    rename = lambda key: key.replace("conv1", "layer")
    return [OfficialWeights("deep", "backbone", "deep-NAME", {"width": 3}, rename)]
"""


def test_a_plugin_announces_weights_with_other_keys(make_plugin, tmp_path):
    plugins = load_plugins([make_plugin("deep", BRINGS.replace("NAME", "a"))])
    assert not plugins.broken
    state = {"module.conv1.weight": torch.rand(3, 2, 1, 1), "module.conv1.bias": torch.rand(3)}
    torch.save(state, tmp_path / "deep.pth")
    out = tmp_path / "deep.safetensors"
    assert convert_official(tmp_path / "deep.pth", out, "deep", plugins) == "backbone deep-a"
    found = load_weights(out, plugins.registry)
    assert torch.equal(found.layer.weight, state["module.conv1.weight"])
    assert found.spec.arguments == {"width": 3}


def test_two_keys_that_become_one_are_refused(tmp_path):
    plugins = load_plugins([])
    plugins.official_weights["x"] = OfficialWeights("x", "backbone", "x", {}, lambda key: "same")
    torch.save({"a": torch.rand(1), "b": torch.rand(1)}, tmp_path / "x.pth")
    with pytest.raises(FusionkitError, match=r"'x'.*'same'"):
        convert_official(tmp_path / "x.pth", tmp_path / "x.safetensors", "x", plugins)


def test_two_plugins_with_weights_of_one_name_clash(make_plugin):
    one = make_plugin("one", BRINGS.replace("NAME", "one"))
    two = make_plugin("two", BRINGS.replace("NAME", "two"))
    plugins = load_plugins([one, two])
    (broken,) = plugins.broken
    assert broken.name == "plugin-two"
    assert broken.error is not None
    assert "'deep'" in broken.error
    assert "'deep-one'" in broken.error
    assert plugins.registry.names("backbone") == ["deep-one"]
