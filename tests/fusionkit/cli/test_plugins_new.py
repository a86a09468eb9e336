"""``fusionkit plugins new`` and ``check`` as an author types them."""

from __future__ import annotations


def test_plugins_new_and_check(fusionkit, tmp_path):
    code, out, said = fusionkit(
        "plugins", "new", "my-fusion", "--kind", "backbone", "--out", tmp_path
    )
    assert code == 0
    assert str(tmp_path / "my-fusion" / "pyproject.toml") in out
    assert "fusionkit run my-fusion.yaml" in said
    code, out, _ = fusionkit("plugins", "check", "fusionkit-scenes")
    assert code == 0
    assert "dataset scenes" in out
    code, _, said = fusionkit("plugins", "check", "fusionkit-scene")
    assert code == 2
    assert "no plugin or package 'fusionkit-scene' is installed" in said
    assert "did you mean 'fusionkit-scenes'" in said


def test_a_failed_check_is_named_with_what_to_mend(fusionkit, monkeypatch):
    from fusionkit_scenes.dataset import Scenes

    monkeypatch.setattr(Scenes, "__doc__", None)
    code, out, said = fusionkit("plugins", "check", "fusionkit-scenes")
    assert code == 2
    assert "failed  dataset scenes, docstring: Scenes has no docstring" in out
    assert "1 checks failed" in said
