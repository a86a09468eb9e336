"""Official checkpoints, as ``torch.save`` writes them."""

from __future__ import annotations

import pickle

import pytest
import torch

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.registry.official_weights import convert_official
from fusionkit_emma.ufuser import UFuser


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
    convert_official(path, tmp_path / "emma.safetensors", "ufuser")
    x = {m: torch.rand(1, 1, 32, 32) for m in ("infrared", "visible")}
    assert torch.equal(fk.load(tmp_path / "emma.safetensors")(x), network(x))


def test_files_of_the_wrong_kind_are_refused_and_write_nothing(official, tmp_path):
    _, path = official
    out = tmp_path / "x.safetensors"
    with pytest.raises(FusionkitError, match=r"the weights in .*EMMA.pth do not fit UNet"):
        convert_official(path, out, "unet5")
    with pytest.raises(FusionkitError, match="--as takes ufuser or unet5, found 'ufuse'; did you"):
        convert_official(path, out, "ufuse")
    with pytest.raises(FusionkitError, match=r"must be a \.safetensors file"):
        convert_official(path, tmp_path / "x.pth", "ufuser")
    with pytest.raises(FusionkitError, match="there is no file"):
        convert_official(tmp_path / "none.pth", out, "ufuser")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(FusionkitError, match="is no PyTorch state dict"):
        convert_official(tmp_path / "text.pth", out, "ufuser")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(FusionkitError, match="holds no plain state dict"):
        convert_official(tmp_path / "list.pth", out, "ufuser")
    assert not out.exists()


class _Code:
    def __reduce__(self):
        return (print, ("code ran",))


def test_code_in_a_checkpoint_is_never_run(tmp_path, capsys):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(_Code()))
    with pytest.raises(FusionkitError, match="is no PyTorch state dict"):
        convert_official(tmp_path / "evil.pth", tmp_path / "x.safetensors", "ufuser")
    torch.save(_Code(), tmp_path / "evil.pth")
    with pytest.raises(FusionkitError, match="is no PyTorch state dict"):
        convert_official(tmp_path / "evil.pth", tmp_path / "x.safetensors", "ufuser")
    assert "code ran" not in capsys.readouterr().out
