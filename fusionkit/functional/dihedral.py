"""The eight symmetries of the square, on pixels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["D4", "REFLECTIONS", "dihedral", "undo_dihedral"]

D4 = tuple((turns, flip) for flip in (False, True) for turns in range(4))
"""All of them, as quarter turns counter-clockwise after an optional mirroring; the identity first.
"""

REFLECTIONS = ((0, False), (0, True), (2, False), (2, True))
"""Those that keep height and width: the identity and what reflections generate."""


def dihedral(x: Float[Tensor, "*b h w"], turns: int, flip: bool) -> Float[Tensor, "*b H W"]:
    """Mirror left and right if ``flip``, then turn by quarter turns; odd turns swap h and w.

    Example:
        >>> dihedral(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), turns=1, flip=False)
        tensor([[1., 3.],
                [0., 2.]])
    """
    return torch.rot90(x.flip(-1) if flip else x, turns, (-2, -1))


def undo_dihedral(x: Float[Tensor, "*b H W"], turns: int, flip: bool) -> Float[Tensor, "*b h w"]:
    """Undo :func:`dihedral` with the same arguments.

    Example:
        >>> x = torch.rand(2, 3)
        >>> undo_dihedral(dihedral(x, 3, True), 3, True).equal(x)
        True
    """
    x = torch.rot90(x, -turns, (-2, -1))
    return x.flip(-1) if flip else x
