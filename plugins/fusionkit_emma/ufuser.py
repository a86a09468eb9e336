"""U-Fuser: one Restormer-CNN encoder per modality, a fusion block per scale, one decoder."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, Images, Modalities, check_modalities, ordered_sources
from fusionkit_emma.initialization import init_as_average
from fusionkit_emma.restormer import RestormerCNNBlock, conv3, run
from fusionkit_emma.ufuser_inference import UFuserInference
from fusionkit_emma.ufuser_training import UFuserTraining

Channels = Annotated[tuple[int, ...], Field(min_length=2, max_length=6)]
Branches = Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]


class UFuser(Backbone):
    """The fusion network of EMMA (CVPR 2024, section 3.3).

    Its state dict has the names and shapes of the official one when built with the defaults for
    two modalities: the first is the official ``I`` (infrared), the second ``V`` (visible). Each
    further modality gets an encoder of its own and widens the fusion blocks.

    Args:
        modalities: Names of the sources, in the order of the encoders.
        channels: Channels per scale, finest first; each is a multiple of ``heads``.
        heads: Attention heads of the global branches. With one channel per head, as the official
            network has at the finest scale, attention is the identity on its values.
        branches: ``global`` (transposed attention), ``local`` (residual convolutions) or both.
            With one of them the block keeps its width, so that an ablation changes nothing else.
        init: Initial weights. ``random`` is PyTorch's default, which the official code uses.
            ``average`` is a network that roughly averages the sources; short schedules then need
            not learn to copy pixels. ``exact-average`` averages to a few percent, black and white
            included; it is for longer schedules with lower learning rates.

    Example:
        >>> sources = {"infrared": torch.zeros(1, 1, 32, 32), "visible": torch.ones(1, 1, 32, 32)}
        >>> UFuser(init="average")(sources).shape
        torch.Size([1, 1, 32, 32])
    """

    name = "ufuser"
    renamed_arguments: ClassVar = {"start": "init"}

    def __init__(
        self,
        modalities: Modalities = ("infrared", "visible"),
        channels: Channels = (8, 16, 32, 32),
        heads: Annotated[int, Field(ge=1)] = 8,
        branches: Branches = ("global", "local"),
        init: Literal["random", "average", "exact-average"] = "random",
    ):
        super().__init__()
        if wrong := [c for c in channels if c < 1 or c % heads]:
            raise FusionkitError(
                f"ufuser: each of channels must be a multiple of heads={heads}, "
                f"found {wrong[0]} in {list(channels)}"
            )
        if unknown := set(branches) - {"global", "local"}:
            raise FusionkitError(
                f"ufuser: branches are 'global' and 'local', found {sorted(unknown)[0]!r}"
            )
        self.modalities = check_modalities(self.name, modalities)
        self.stride = 2 ** (len(channels) - 1)
        scales = range(1, len(channels) + 1)
        self.scales = len(channels)

        def block(inputs: int, outputs: int) -> RestormerCNNBlock:
            return RestormerCNNBlock(inputs, outputs, heads, branches)

        # The first two are the official ones.
        self.letters = ("I", "V", *(f"S{k}" for k in range(3, len(self.modalities) + 1)))
        for letter in self.letters:
            inputs = 1
            for scale, outputs in zip(scales, channels, strict=True):
                self.add_module(f"{letter}_en_{scale}", block(inputs, outputs))
                inputs = outputs
                if scale < self.scales:
                    self.add_module(f"{letter}_down{scale}", conv3(outputs, outputs, step=2))
        sources = len(self.modalities)
        for scale, width in zip(scales, channels, strict=True):
            self.add_module(f"f_{scale}", block(sources * width, width))
            skip = 1 if scale == self.scales else 2
            self.add_module(f"de_{scale}", block(skip * width, width))
            if scale > 1:
                finer = channels[scale - 2]
                up = nn.ConvTranspose2d(width, finer, 4, stride=2, padding=1, bias=False)
                self.add_module(f"up{scale}", nn.Sequential(up, nn.ReLU()))
        self.last = nn.Sequential(conv3(channels[0], 1, bias=True), nn.Sigmoid())
        if init != "random":
            init_as_average(self, exact=init == "exact-average")

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch; h and w must be multiples of ``stride`` (8 with four scales).

        Raises:
            FusionkitError: if a modality that the network was built for is missing.
        """
        parts = self._modules
        per_scale: list[list[Tensor]] = [[] for _ in range(self.scales)]
        for letter, x in zip(self.letters, ordered_sources(self, sources), strict=True):
            for scale in range(1, self.scales + 1):
                x = run(parts[f"{letter}_en_{scale}"], x)
                per_scale[scale - 1].append(x)
                if scale < self.scales:
                    x = run(parts[f"{letter}_down{scale}"], x)
        # The official code concatenates infrared before visible.
        mixed = [
            run(parts[f"f_{scale}"], torch.cat(features, dim=1))
            for scale, features in enumerate(per_scale, start=1)
        ]
        x = run(parts[f"de_{self.scales}"], mixed[-1])
        for scale in range(self.scales - 1, 0, -1):
            x = run(parts[f"up{scale + 1}"], x)
            x = run(parts[f"de_{scale}"], torch.cat((x, mixed[scale - 1]), dim=1))
        return self.last(x)

    def inference_form(self) -> UFuserInference:
        """Return the same network in a faster form; see ``ufuser_inference.py``."""
        return UFuserInference(self, self.scales, self.letters)

    def training_form(self) -> UFuserTraining:
        """Return this network in a form that trains faster; see ``ufuser_training.py``."""
        return UFuserTraining(self)

    def with_statistics_of(self, sources: Images) -> UFuserInference:
        """Return the faster form with the attention of ``sources``."""
        return self.inference_form().with_statistics_of(sources)
