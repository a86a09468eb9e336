"""The pseudo-sensor of EMMA: a five-level U-Net that maps a fused image to one modality."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.inference.inference_form import fold_batch_norms
from fusionkit.interfaces import Sensor


class UNet(Sensor):
    """U-Net with five levels of two conv-BN-ReLU each (EMMA, CVPR 2024, section 3.4).

    With ``width`` 64 the state dict has the official names and shapes (39.4 million parameters).

    Args:
        width: Channels of the finest level; each coarser level has twice as many.

    Example:
        >>> UNet(width=4)(torch.zeros(1, 1, 32, 48)).shape
        torch.Size([1, 1, 32, 48])
    """

    name = "unet"
    stride = 16
    example: ClassVar = {"width": 8}

    def __init__(self, width: Annotated[int, Field(ge=1)] = 64):
        super().__init__()
        c1, c2, c3, c4, c5 = (width * 2**level for level in range(5))
        self.down_sample = nn.MaxPool2d(2)
        self.down1 = _ConvBlock(1, c1)
        self.down2 = _ConvBlock(c1, c2)
        self.down3 = _ConvBlock(c2, c3)
        self.down4 = _ConvBlock(c3, c4)
        self.down5 = _ConvBlock(c4, c5)
        self.up_sample5 = _up(c5, c4)
        self.up4 = _ConvBlock(c5, c4)
        self.up_sample4 = _up(c4, c3)
        self.up3 = _ConvBlock(c4, c3)
        self.up_sample3 = _up(c3, c2)
        self.up2 = _ConvBlock(c3, c2)
        self.up_sample2 = _up(c2, c1)
        self.up1 = _ConvBlock(c2, c1)
        self.last = nn.Sequential(nn.Conv2d(c1, 1, 3, padding=1), nn.Sigmoid())

    def forward(self, fused: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Predict the source from the fused image; h and w must be multiples of 16."""
        d1 = self.down1(fused)
        d2 = self.down2(self.down_sample(d1))
        d3 = self.down3(self.down_sample(d2))
        d4 = self.down4(self.down_sample(d3))
        x = self.down5(self.down_sample(d4))
        x = self.up4(torch.cat((self.up_sample5(x), d4), dim=1))
        x = self.up3(torch.cat((self.up_sample4(x), d3), dim=1))
        x = self.up2(torch.cat((self.up_sample3(x), d2), dim=1))
        x = self.up1(torch.cat((self.up_sample2(x), d1), dim=1))
        return self.last(x)

    def inference_form(self) -> UNet:
        """Return a copy with batch norms folded into the convolutions, in channels_last."""
        return fold_batch_norms(self).to(memory_format=torch.channels_last)


class _ConvBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False), nn.ReLU()
    )
