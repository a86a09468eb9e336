"""Replaces a network by a faster form for inference, if both give the same results."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fusionkit.interfaces import Backbone, Images, Sample, Sensor

__all__ = ["fold_batch_norms", "inference_form"]

TOLERANCE = 1e-6
"""Largest difference in double precision, in units of the range [0, 1]."""

_SIZES = ((48, 64), (37, 53))

logger = logging.getLogger("fusionkit")

Network = TypeVar("Network", Backbone, Sensor)
Module = TypeVar("Module", bound=nn.Module)


def inference_form(network: Network) -> Network:
    """Return a network that infers by its faster form, and is the network itself otherwise.

    The faster form works where no gradient can be asked for: in eval mode, under
    ``torch.no_grad()`` or ``torch.inference_mode()``, as in ``Backbone.fuse``. The result moves to
    devices and types, is copied, pickled, trained and saved like the network, whose state dict it
    has. After training, ``eval()`` builds the faster form again.

    If a small image gives another result in double precision, or the form can't be built, a warning
    is logged and the network itself is returned, as for a network without a faster form.

    Args:
        network: In eval mode; it is kept, not copied.

    Example:
        >>> import fusionkit as fk
        >>> average = fk.build("backbone", name="average").eval()
        >>> inference_form(average) is average
        True
    """
    network = network.exact_form()
    if isinstance(network, Backbone) and type(network).fuse is not Backbone.fuse:
        return network
    try:
        fast = network.inference_form()
        if fast is network:
            return network
        difference = _difference(network)
    except Exception as error:
        logger.warning(
            "%s: its faster form can't be used (%s: %s); the exact one works instead",
            network.name,
            type(error).__name__,
            error,
        )
        return network
    if not difference <= TOLERANCE:
        logger.warning(
            "%s: its faster form gives other results (by up to %.2g of the range); "
            "the exact one works instead",
            network.name,
            difference,
        )
        return network
    if isinstance(network, Backbone):
        return _BackboneOfTwoForms(network)
    return _SensorOfTwoForms(network)


def fold_batch_norms(network: Module) -> Module:
    """Return a copy whose batch norms are folded into the convolutions before them.

    Folded are neighbours in a ``nn.Sequential``. The copy has no trainable parameters; gradients
    pass through it to its input.

    Args:
        network: In eval mode; with the running statistics to fold.

    Example:
        >>> block = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
        >>> [type(part).__name__ for part in fold_batch_norms(block)]
        ['Conv2d', 'Identity', 'ReLU']
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for part in network.modules():
        if isinstance(part, nn.Sequential):
            _fold_neighbours(part)
    return network


def _fold_neighbours(sequence: nn.Sequential) -> None:
    for place, part in enumerate(sequence):
        before = sequence[place - 1] if place else None
        if isinstance(part, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            sequence[place - 1] = fuse_conv_bn_eval(before, part)
            sequence[place] = nn.Identity()  # others keep their numbers


def _difference(network: Backbone | Sensor) -> float:
    """Return the largest difference between a network and its faster form, both in double."""
    exact = copy.deepcopy(network).cpu().double().eval()
    fast = exact.inference_form().eval()
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for height, width in _SIZES:
        if isinstance(exact, Backbone) and isinstance(fast, Backbone):
            names = exact.modalities or ("first", "second")
            images = {
                name: torch.rand(1, height, width, generator=generator, dtype=torch.float64)
                for name in names
            }
            sample = Sample("noise", images)
            gap = fast.fuse(sample) - exact.fuse(sample)
        else:
            side = max(exact.stride, 16)
            image = torch.rand(1, 1, side, 2 * side, generator=generator, dtype=torch.float64)
            with torch.no_grad():
                gap = fast(image) - exact(image)
        largest = max(largest, float(gap.abs().max()))
    return largest


class _TwoForms(nn.Module):
    """What backbones and sensors of two forms share: ``plain`` counts, ``fast`` is made of it."""

    def __init__(self, plain: Any):
        super().__init__()
        self.plain = plain
        self.fast = plain.inference_form()
        self.name, self.spec, self.stride = plain.name, plain.spec, plain.stride
        self.training = plain.training

    def form(self) -> nn.Module:
        """Return the form that can do what is asked for now."""
        return self.plain if self.training or torch.is_grad_enabled() else self.fast

    def train(self, mode: bool = True) -> Any:
        """Switch the mode; after training, build the faster form of the new weights."""
        trained = self.training and not mode
        super().train(mode)
        if trained:
            self.fast = self.plain.inference_form().eval()
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the state dict of the plain network."""
        return self.plain.state_dict(*args, **kwargs)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load the state dict of the plain network, and build the faster form of it."""
        found = self.plain.load_state_dict(state_dict, strict, assign)
        self.fast = self.plain.inference_form().train(self.training)
        return found

    def exact_form(self) -> Any:
        """Return the plain network."""
        return self.plain


class _BackboneOfTwoForms(_TwoForms, Backbone):
    def __init__(self, plain: Backbone):
        super().__init__(plain)
        self.modalities = plain.modalities

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch."""
        return self.form()(sources)

    def with_statistics_of(self, sources: Images) -> Backbone:
        """Return the faster form with its statistics fixed; see ``Backbone``."""
        return self.fast.with_statistics_of(sources)


class _SensorOfTwoForms(_TwoForms, Sensor):
    def forward(self, fused: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Map fused images to images of the modality."""
        return self.form()(fused)
