"""Averages a backbone over a group at inference, so that it commutes with the group exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.functional.dihedral import D4, REFLECTIONS, dihedral, undo_dihedral
from fusionkit.interfaces import Backbone, Images, Sample

__all__ = ["Symmetrized", "Symmetry", "symmetrized"]

Symmetry = Literal["none", "reflect", "d4"]
"""``reflect``: the identity and three reflections; ``d4``: these and quarter turns."""


class Symmetrized(Backbone):
    """The mean of g^-1 F(g x) over all elements g of a group, which commutes with each of them.

    Averaging over a group is the Reynolds operator; for pixels it is test-time augmentation. It
    costs as many passes as the group has elements, 4 or 8.

    Args:
        backbone: F.
        group: ``reflect`` or ``d4``.

    Example:
        >>> import fusionkit as fk
        >>> network = Symmetrized(fk.build("backbone", name="average"), "d4")
        >>> network({"infrared": torch.zeros(1, 1, 8, 8), "visible": torch.ones(1, 1, 8, 8)}).mean()
        tensor(0.5000)
    """

    name = "symmetrized"

    def __init__(self, backbone: Backbone, group: Literal["reflect", "d4"] = "d4"):
        super().__init__()
        self.backbone = backbone
        self.group: Literal["reflect", "d4"] = group
        self.elements = D4 if group == "d4" else REFLECTIONS
        self.stride = backbone.stride

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch (b, 1, h, w) once for each element of the group, and average."""
        return torch.stack(
            [
                undo_dihedral(
                    self.backbone({n: dihedral(x, *element) for n, x in sources.items()}), *element
                )
                for element in self.elements
            ]
        ).mean(dim=0)

    def with_statistics_of(self, sources: Images) -> Backbone:
        """Return the average over the group of the network for parts of an image."""
        fixed = self.backbone.with_statistics_of(sources)
        return self if fixed is self.backbone else Symmetrized(fixed, self.group)

    def fuse(self, sample: Sample) -> Float[Tensor, "1 h w"]:
        """Fuse one sample of any size; the padding must be symmetric as well."""
        total: Tensor | None = None
        for element in self.elements:
            images = {name: dihedral(x, *element) for name, x in sample.images.items()}
            fused = self.backbone.fuse(replace(sample, images=images))
            # float64, so that the order of the sum does not matter.
            part = undo_dihedral(fused, *element).double()
            total = part if total is None else total + part
        assert total is not None
        return (total / len(self.elements)).float()


def symmetrized(backbone: Backbone, group: Symmetry) -> Backbone:
    """Return the backbone averaged over a group, or the backbone itself for ``none``.

    Raises:
        FusionkitError: for another group, or a backbone that needs more than the pixels, such as
            ``folder``: it would not follow when they are turned.

    Example:
        >>> import fusionkit as fk
        >>> symmetrized(fk.build("backbone", name="average"), "d4").name
        'symmetrized'
    """
    if group == "none":
        return backbone
    if type(backbone).fuse is not Backbone.fuse:
        raise FusionkitError(
            f"the backbone {backbone.name!r} does not follow its sources when they are turned, "
            f"so it can't be symmetrized"
        )
    if group not in ("reflect", "d4"):
        raise FusionkitError(f"symmetrize: expected none, reflect or d4, found {group!r}")
    return Symmetrized(backbone, group).eval()
