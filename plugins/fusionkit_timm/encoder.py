"""One encoder of timm, made to give feature maps (b, c, h, w) for images of any size."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fusionkit.errors import FusionkitError, nearest

_FLEXIBLE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""Arguments that free an encoder from one image size, best first; few classes take any of them."""

_FACTORS = (1, 2, 4, 7, 8)
"""What the largest reduction may have to be multiplied by: windows of attention are 7 or 8 wide,
and without padding small images shrink to nothing."""


class Encoder(nn.Module):
    """The feature maps of a timm encoder for images of one channel, finest first.

    Attributes:
        channels: Of each feature map.
        reductions: What each feature map divides h and w by.
        stride: The multiple that h and w must have.

    Args:
        name: As timm knows it, with or without the tag of its weights (``resnet18.a1_in1k``).
        pretrained: Download its weights when it is built for the first time.

    Raises:
        FusionkitError: if there is no such encoder, its weights can't be had, or it takes images
            of one size alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, pretrained: bool):
        super().__init__()
        self.body = _create(name, pretrained)
        info: Any = self.body.feature_info
        self.channels: list[int] = info.channels()
        self.reductions: list[int] = info.reduction()
        # Grey counts as the mean of the three channels whose weights timm sums for one channel.
        # Not in the state dict: it follows from the name.
        config: dict[str, Any] = getattr(self.body, "pretrained_cfg", None) or {}
        for key, default in (("mean", 0.5), ("std", 0.5)):
            values = torch.tensor(config.get(key) or default, dtype=torch.float32)
            self.register_buffer(key, values.mean(), persistent=False)
        self.stride, maps = self._tried(name)
        self._channels_last = [
            self._is_channels_last(y, c, name) for y, c in zip(maps, self.channels, strict=True)
        ]

    def forward(self, x: Float[Tensor, "b 1 h w"]) -> list[Tensor]:
        """Return the feature maps, each (b, c, h / reduction, w / reduction) or nearly that size.

        Args:
            x: Images in [0, 1]; h and w multiples of ``stride``.
        """
        maps = self.body((x - self.mean) / self.std)
        return [
            # Contiguous again, as decoders concatenate it with maps that always were.
            y.movedim(-1, 1).contiguous() if last else y
            for y, last in zip(maps, self._channels_last, strict=True)
        ]

    @torch.no_grad()
    def _tried(self, name: str) -> tuple[int, list[Tensor]]:
        """Return the least multiple that images may have as sides, and maps of such an image.

        The image is twice as wide as it is high, so that fixed sizes and windows show, and at most
        one of its sides can be taken for the channels.
        """
        training, largest = self.body.training, max(self.reductions)
        self.body.eval()  # so that trying changes no running statistics
        problems: list[Exception] = []
        for factor in _FACTORS:
            side = factor * largest
            try:
                maps = self.body(torch.full((1, 1, side, 2 * side), 0.5))
            # What an encoder raises on a size that it does not take is up to its authors.
            except Exception as problem:
                problems.append(problem)
            else:
                self.body.train(training)
                return side, maps
        raise FusionkitError(
            f"encoder: {name!r} does not take images of any size ({_brief(problems[0])}); "
            f"choose one that does, such as a ResNet, ConvNeXt, Swin or ViT"
        )

    def _is_channels_last(self, y: Tensor, channels: int, name: str) -> bool:
        first = y.ndim == 4 and y.shape[1] == channels
        last = y.ndim == 4 and y.shape[-1] == channels
        if not first and not last:
            raise FusionkitError(
                f"encoder: {name!r} gives a feature map of shape {tuple(y.shape)}, expected one "
                f"with {channels} channels and two axes of pixels; choose another encoder"
            )
        # Where both fit, what timm says of the whole network decides.
        reported = str(getattr(self.body, "output_fmt", "")).endswith("NHWC")
        return reported if first and last else last


def _create(name: str, pretrained: bool) -> nn.Module:
    import timm  # here, since all commands would wait for the seconds that it takes

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
        except TypeError as error:  # an argument that this encoder has not
            problem = error
        except OSError as error:
            raise FusionkitError(
                f"the weights of encoder {name!r} can't be had: {_brief(error)}; set pretrained: "
                f"false, or put them in the cache of the Hugging Face hub (HF_HOME)"
            ) from None
        # An unknown tag, no weights at all, no features, ...
        except (RuntimeError, ValueError, AssertionError, AttributeError) as error:
            problem = error
            break
    raise FusionkitError(f"encoder: {name!r} can't be built: {_brief(problem)}")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
