"""A timm encoder that returns feature maps (b, c, h, w) for images of any size."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fusionkit.errors import FusionkitError, nearest

_FLEXIBLE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""Arguments that let an encoder accept any image size, best first; most encoders need none."""

_FACTORS = (1, 2, 4, 7, 8)
"""Candidates for the stride, in multiples of the largest reduction. Windows of attention are often
7 or 8 wide, and encoders without padding need larger images."""


class Encoder(nn.Module):
    """A timm encoder for images of one channel; returns feature maps, finest first.

    Args:
        name: Name of a timm model, with or without the tag of its weights (``resnet18.a1_in1k``).
        pretrained: Use timm's pretrained weights, which are downloaded on first use.

    Attributes:
        channels: Channels of each feature map.
        reductions: Factor by which each feature map is smaller than the image.
        stride: h and w must be multiples of it.

    Raises:
        FusionkitError: if timm has no such encoder, its weights cannot be downloaded, or it accepts
            images of one size only.

    Example:
        >>> encoder = Encoder("test_resnet", pretrained=False)
        >>> [tuple(x.shape) for x in encoder(torch.rand(1, 1, 64, 64))][-1], encoder.reductions[-1]
        ((1, 96, 2, 2), 32)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, pretrained: bool):
        super().__init__()
        self.body = _create(name, pretrained)
        info: Any = self.body.feature_info
        self.channels: list[int] = info.channels()
        self.reductions: list[int] = info.reduction()
        # timm sums the weights of the three colour channels for grey images, so grey images get the
        # mean of the three normalizations. It follows from the name: no need to save it.
        config: dict[str, Any] = getattr(self.body, "pretrained_cfg", None) or {}
        for key, default in (("mean", 0.5), ("std", 0.5)):
            values = torch.tensor(config.get(key) or default, dtype=torch.float32)
            self.register_buffer(key, values.mean(), persistent=False)
        self.stride, maps = self._find_stride(name)
        self._channels_last = [
            self._is_channels_last(y, c, name) for y, c in zip(maps, self.channels, strict=True)
        ]

    def forward(self, x: Float[Tensor, "b 1 h w"]) -> list[Tensor]:
        """Return the feature maps, each about (b, c, h / reduction, w / reduction).

        Args:
            x: Images in [0, 1]; h and w must be multiples of ``stride``.
        """
        maps = self.body((x - self.mean) / self.std)
        return [
            # Contiguous, because decoders concatenate it with maps that are.
            y.movedim(-1, 1).contiguous() if last else y
            for y, last in zip(maps, self._channels_last, strict=True)
        ]

    @torch.no_grad()
    def _find_stride(self, name: str) -> tuple[int, list[Tensor]]:
        """Return the smallest stride that works, and the feature maps of a trial image.

        The trial image is twice as wide as high: encoders that accept a single size fail, and at
        most one axis of a map can be mistaken for the channels.
        """
        training, largest = self.body.training, max(self.reductions)
        self.body.eval()  # so that the trial does not change running statistics
        problems: list[Exception] = []
        for factor in _FACTORS:
            side = factor * largest
            try:
                maps = self.body(torch.full((1, 1, side, 2 * side), 0.5))
            # Encoders raise all kinds of errors for a size that they do not accept.
            except Exception as problem:
                problems.append(problem)
            else:
                self.body.train(training)
                return side, maps
        raise FusionkitError(
            f"encoder: {name!r} accepts images of one size only ({_brief(problems[0])}); "
            f"choose an encoder for any size, such as a ResNet, ConvNeXt, Swin or ViT"
        )

    def _is_channels_last(self, y: Tensor, channels: int, name: str) -> bool:
        first = y.ndim == 4 and y.shape[1] == channels
        last = y.ndim == 4 and y.shape[-1] == channels
        if not first and not last:
            raise FusionkitError(
                f"encoder: expected a feature map with {channels} channels and two spatial axes, "
                f"found shape {tuple(y.shape)} in {name!r}; choose another encoder"
            )
        # If both axes fit, use the format that timm reports for the whole network.
        reported = str(getattr(self.body, "output_fmt", "")).endswith("NHWC")
        return reported if first and last else last


def _create(name: str, pretrained: bool) -> nn.Module:
    import timm  # here, because importing it takes seconds

    base = name.partition(".")[0]
    if not timm.is_model(base):
        raise FusionkitError(
            f"encoder: timm {timm.__version__} has no {name!r}" + nearest(base, timm.list_models())
        )
    problem: Exception = RuntimeError("unknown")
    for extra in _FLEXIBLE:
        try:
            return timm.create_model(
                name, pretrained=pretrained, features_only=True, in_chans=1, **extra
            )
        except TypeError as error:  # the encoder does not have this argument
            problem = error
        except OSError as error:
            raise FusionkitError(
                f"encoder: cannot load the weights of {name!r}: {_brief(error)}; set pretrained: "
                f"false, or copy the weights into the Hugging Face cache (HF_HOME)"
            ) from None
        # Such as an unknown tag, no pretrained weights, or no feature maps.
        except (RuntimeError, ValueError, AssertionError, AttributeError) as error:
            problem = error
            break
    raise FusionkitError(f"encoder: cannot build {name!r}: {_brief(problem)}")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
