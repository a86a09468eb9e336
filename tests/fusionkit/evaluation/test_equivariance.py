"""The audit measures what it says, and averaging over a group makes fusing commute with it."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.evaluation.equivariance import audit, summarize_audit, write_audit
from fusionkit.inference.symmetrize import Symmetrized, symmetrized
from fusionkit.interfaces import Backbone, Sample


class Shaded(Backbone):
    """Darkens from left to right, so mirroring shows."""

    name = "shaded"

    def forward(self, sources):
        x = next(iter(sources.values()))
        return x * torch.linspace(1, 0, x.shape[-1])


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(0)
    images = {name: torch.rand(1, 48, 64, generator=generator) for name in ("infrared", "visible")}
    return Sample("one", images)


def groups(*names, **arguments):
    return {name: fk.build("transform", name=name, **arguments) for name in names}


def test_the_error_is_that_of_the_definition(sample):
    lines, _ = audit(Shaded(), [sample], groups("reflect"), count=1)
    (line,) = lines
    x = sample.images["infrared"][0].double()
    ramp = torch.linspace(1, 0, 64).double()
    # F(T x) - T F(x), where T mirrors the columns
    expected = x.flip(-1) * ramp - (x * ramp).flip(-1)
    assert line.rmse == pytest.approx(float(expected.square().mean().sqrt()), rel=1e-6)
    assert line.worst == pytest.approx(float(expected.abs().max()), rel=1e-5)
    assert line.psnr == pytest.approx(-20 * math.log10(line.rmse))
    assert line.valid == 1
    assert (line.image, line.group) == ("one", "reflect")


def test_only_valid_pixels_count_and_a_margin_takes_more_away(sample):
    lines, _ = audit(fk.build("backbone", name="average"), [sample], groups("rotate"), count=2)
    assert all(0 < line.valid < 1 for line in lines)
    assert all(line.worst < 1e-6 for line in lines)  # pointwise: the precision of floats
    narrower, _ = audit(Shaded(), [sample], groups("rotate"), count=2, margin=4)
    assert all(a.valid < b.valid for a, b in zip(narrower, lines, strict=True))
    with pytest.raises(FusionkitError, match="lower the margin of 60 pixels"):
        audit(Shaded(), [sample], groups("rotate"), count=2, margin=60)


@pytest.mark.parametrize("name", ["average", "max"])
def test_pointwise_fusers_score_the_precision_of_floats(sample, name):
    lines, _ = audit(
        fk.build("backbone", name=name), [sample], groups("shift", "reflect", "d4"), count=3
    )
    assert max(line.worst for line in lines) < 1e-6
    assert {key: error.elements for key, error in summarize_audit(lines).items()} == {
        "shift": 3,
        "reflect": 3,
        "d4": 3,
    }


@pytest.mark.parametrize("size", [(48, 48), (45, 61)])
def test_averaging_over_d4_brings_the_error_to_the_precision_of_floats(size):
    generator = torch.Generator().manual_seed(1)
    images = {name: torch.rand(1, *size, generator=generator) for name in ("infrared", "visible")}
    network = fk.build("backbone", name="ufuser", channels=[8, 8]).eval()
    named = groups("reflect", "d4")
    before = summarize_audit(audit(network, [Sample("one", images)], named, count=7)[0])
    after = summarize_audit(
        audit(symmetrized(network, "d4"), [Sample("one", images)], named, count=7)[0]
    )
    assert before["d4"].elements == (7 if size[0] == size[1] else 3)
    for name in named:
        assert before[name].worst > 1e-4
        assert after[name].worst < 2e-6
    reflected = summarize_audit(
        audit(symmetrized(network, "reflect"), [Sample("one", images)], named, count=7)[0]
    )
    assert reflected["reflect"].worst < 2e-6
    if size[0] == size[1]:
        assert reflected["d4"].worst > 1e-4


def test_symmetrized_batches_are_those_of_the_samples():
    network = Symmetrized(Shaded(), "reflect")
    x = torch.rand(2, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    fused = network({"infrared": x, "visible": x})
    assert torch.allclose(fused, 0.5 * x, atol=1e-6)  # the ramp and its mirror image add up to 1
    assert torch.allclose(network.fuse(Sample("one", {"a": x[0], "b": x[0]})), 0.5 * x[0])


def test_what_can_not_be_symmetrized_is_named(tmp_path):
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "one.png")
    folder = fk.build("backbone", name="folder", root=str(tmp_path))
    with pytest.raises(FusionkitError, match="'folder' does not follow its sources"):
        symmetrized(folder, "d4")
    with pytest.raises(FusionkitError, match="expected none, reflect or d4, found 'c4'"):
        symmetrized(Shaded(), "c4")  # type: ignore[arg-type]


def test_the_files_hold_every_element_and_a_row_per_group(tmp_path, sample):
    lines, examples = audit(Shaded(), [sample], groups("reflect", "rotate"), count=3)
    write_audit(tmp_path / "out", lines, examples)
    with (tmp_path / "out" / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert float(rows[0]["rmse"]) == lines[0].rmse
    with Image.open(tmp_path / "out" / "audit.png") as image:
        assert image.size == (3 * 222, 2 * 167)
    worst = {e.line.group: e.line.rmse for e in examples}
    assert worst == {g: max(x.rmse for x in lines if x.group == g) for g in worst}
