"""The laws of the transform groups, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from fusionkit.errors import FusionkitError
from fusionkit_emma.transforms import Dihedral, Reflect, Rotate, Shift, Shifted

SIZE = (24, 32)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def x():
    return torch.rand(2, 1, *SIZE, generator=seeded(5))


@pytest.mark.parametrize("group", [Shift(), Shift(circular=False), Reflect(), Reflect("random")])
def test_exact_elements_come_back_bit_by_bit(group, x):
    for element in group.sample(3, SIZE, seeded()):
        assert element.exact
        moved = element.apply(x)
        assert not torch.equal(moved, x)
        assert torch.equal(element.inverse().apply(moved), x)


def test_rotations_come_back_inside_the_valid_mask():
    y, w = torch.meshgrid(torch.linspace(0, 3, 48), torch.linspace(0, 4, 48), indexing="ij")
    x = (0.5 + 0.4 * torch.sin(y + w))[None, None]
    for element in Rotate("random").sample(5, (48, 48), seeded()):
        assert not element.exact
        back = element.inverse().apply(element.apply(x))
        # valid on the way back too: what was valid after the first must be what arrives
        arrived = element.inverse().apply(element.valid((48, 48)).float()[None, None])[0, 0]
        inside = element.inverse().valid((48, 48)) & (arrived > 0.999)
        assert inside.float().mean() > 0.5
        # a pixel's width from the border both resamplings have real neighbours
        inner = -torch.nn.functional.max_pool2d(-inside[None, None].float(), 5, 1, 2) > 0
        assert (back - x)[inner].abs().max() < 0.01


def test_valid_marks_what_zeros_or_the_other_border_have_not_reached(x):
    ones = torch.ones(1, 1, *SIZE)
    for element in Rotate().sample(3, SIZE, seeded()):
        assert (element.apply(ones)[0, 0][element.valid(SIZE)] > 0.999).all()
    circular, cut = Shift().sample(1, SIZE, seeded())[0], Shift(False).sample(1, SIZE, seeded())[0]
    assert circular.valid(SIZE).all()
    mask = cut.valid(SIZE)
    expected = (SIZE[0] - abs(cut.rows)) * (SIZE[1] - abs(cut.columns))
    assert mask.sum() == expected
    # every valid pixel moved by exactly the offset
    marked = torch.arange(SIZE[0] * SIZE[1], dtype=torch.float32).view(1, 1, *SIZE)
    moved = cut.apply(marked)[0, 0]
    rows, columns = torch.nonzero(mask, as_tuple=True)
    assert torch.equal(moved[rows, columns], marked[0, 0][rows - cut.rows, columns - cut.columns])


def test_shifts_are_nonzero_and_different():
    for seed in range(20):
        drawn = Shift().sample(8, (9, 12), seeded(seed))
        rows, columns = [s.rows for s in drawn], [s.columns for s in drawn]
        assert 0 not in rows + columns
        assert len(set(rows)) == len(set(columns)) == 8
        assert max(map(abs, rows)) <= 8
        assert max(map(abs, columns)) <= 11


def test_shifts_are_no_larger_than_asked():
    drawn = [s for seed in range(20) for s in Shift(largest=3).sample(6, (9, 12), seeded(seed))]
    rows = {s.rows for s in drawn}
    assert rows == {-3, -2, -1, 1, 2, 3}
    with pytest.raises(FusionkitError, match=r"shift.*6 elements.*9x9.*count of 7"):
        Shift(largest=3).sample(7, (9, 9), seeded())


def test_draws_follow_from_the_generator():
    for group in (Shift(), Rotate("random"), Reflect("random")):
        first = [e.apply(torch.eye(24)[None, None]) for e in group.sample(3, (24, 24), seeded(3))]
        again = [e.apply(torch.eye(24)[None, None]) for e in group.sample(3, (24, 24), seeded(3))]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_composed_shifts_are_a_shift(x):
    a, b = Shift().sample(2, SIZE, seeded())
    both = type(a)(a.rows + b.rows, a.columns + b.columns)
    assert torch.equal(a.apply(b.apply(x)), both.apply(x))


def test_gradients_flow(x):
    for group in (Shift(), Rotate(), Reflect()):
        leaf = x.clone().requires_grad_()
        group.sample(1, SIZE, seeded())[0].apply(leaf).square().sum().backward()
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad.abs().sum() > 0


def test_an_oblong_has_fewer_symmetries():
    # A recipe that asks for all seven trains on square patches and validates on whole images:
    # whoever draws asks for `order(size)` first.
    assert len(Dihedral().sample(7, (9, 9), seeded())) == Dihedral().order((9, 9)) == 7
    with pytest.raises(FusionkitError, match=r"d4.*3 elements.*9x12"):
        Dihedral().sample(7, (9, 12), seeded())
    drawn = Dihedral().sample(Dihedral().order((9, 12)), (9, 12), seeded())
    assert len(drawn) == 3
    assert all(element.apply(torch.ones(1, 1, 9, 12)).shape[-2:] == (9, 12) for element in drawn)


def test_too_many_elements_are_refused():
    with pytest.raises(FusionkitError, match=r"reflect.*3 elements.*24x32.*count of 4"):
        Reflect().sample(4, SIZE, seeded())
    with pytest.raises(FusionkitError, match=r"shift.*4 elements.*3x9.*count of 5"):
        Shift().sample(5, (3, 9), seeded())
    with pytest.raises(FusionkitError, match=r"d4.*7 elements.*9x9.*count of 8"):
        Dihedral().sample(8, (9, 9), seeded())
    with pytest.raises(FusionkitError, match=r"350 elements.*count of 351"):
        Rotate().sample(351, SIZE, seeded())


def test_elements_are_written_as_people_write_them():
    for group in (Shift(), Rotate(), Rotate("random"), Reflect(), Dihedral()):
        elements = group.sample(3, (24, 24), seeded())
        texts = [str(element) for element in elements]
        assert len(set(texts)) == 3
        assert not any(sign in text for text in texts for sign in "(=")
    assert str(Shifted(8, -1)) == "shift by 8 rows and -1 column"
