"""Rules that put the colour of a source back under the luminance of the fused image.

All rules keep the fused luminance (BT.601), are pixel by pixel, and give the source back where the
fused luminance equals its own.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.functional.colour import join_chroma, luminance, split_chroma
from fusionkit.functional.oklab import (
    linear_to_srgb,
    oklab_to_rgb,
    rgb_to_oklab,
    srgb_to_linear,
)

__all__ = ["COLOUR_RULES", "ColourRule", "restore_colour"]

ColourRule = Literal["oklab", "scaled", "ycbcr"]

COLOUR_RULES: tuple[ColourRule, ...] = ("oklab", "scaled", "ycbcr")

_DARK = 0.2
"""Luminance at which half of a gain is applied. Darker pixels hold more noise, and a tint of the
camera that is not seen, than colour."""
_NEUTRAL = 1 / 255
"""Chroma up to which a pixel is grey, so that its hue is not seen."""
_STEPS = 6
"""Steps towards the saturation that fits; more of them change no 8-bit value by more than one."""
_CHUNK = 1 << 14
"""Pixels at a time, few enough for their values to stay in the CPU cache."""


def restore_colour(
    luma: Float[Tensor, "*b 1 h w"],
    chroma: Float[Tensor, "*b 2 h w"],
    source_luma: Float[Tensor, "*b 1 h w"],
    rule: ColourRule = "oklab",
) -> Float[Tensor, "*b 3 h w"]:
    """Return RGB in [0, 1] with the luminance of the fused image and the colour of a source.

    Args:
        luma: Luminance of the fused image; values outside [0, 1] are clipped.
        chroma: Cb and Cr in [0, 1] of the source.
        source_luma: Luminance of the source in [0, 1].
        rule: ``ycbcr`` leaves Cb and Cr as they are, as most papers do. A colour pales if the pixel
            becomes brighter and is exaggerated if it becomes darker. ``scaled`` scales Cb and Cr
            with the luminance, which keeps hue and saturation, as a longer exposure would. Dark
            pixels become paler, because their colour is mostly noise: black ones are treated as by
            ``ycbcr``. ``oklab`` does the same at constant hue of OKLab: where a bright pixel must
            be paler, blue becomes light blue instead of lavender. In all rules a colour that does
            not fit into RGB at its luminance loses saturation.

    Example:
        >>> red = torch.tensor([0.4, 0.1, 0.1]).view(3, 1, 1)
        >>> luma, chroma = split_chroma(red)
        >>> for rule in COLOUR_RULES:
        ...     rgb = restore_colour(2 * luma, chroma, luma, rule)
        ...     print(rule, [round(x, 2) for x in rgb.flatten().tolist()])
        oklab [0.69, 0.25, 0.23]
        scaled [0.69, 0.25, 0.25]
        ycbcr [0.59, 0.29, 0.29]
    """
    luma = luma.clamp(0, 1)
    if rule == "ycbcr":
        return join_chroma(luma, chroma)
    gain = _chroma_gain(luma, source_luma)
    rgb = join_chroma(luma, 0.5 + gain * (chroma - 0.5))
    if rule == "scaled":
        return rgb
    # Greys and pixels that become darker are the same by both rules.
    has_colour = (chroma - 0.5).abs().amax(-3) > _NEUTRAL
    chosen = has_colour & (luma > source_luma).squeeze(-3)
    places = chosen.flatten().nonzero().squeeze(1)
    flat = [_flat(x) for x in (join_chroma(source_luma, chroma), source_luma, luma, gain)]
    found = [
        _keep_hue(*(x.index_select(1, part) for x in flat)) for part in places.split(_chunk(luma))
    ]
    pixels = _flat(rgb)
    if found:
        pixels = pixels.index_copy(1, places, torch.cat(found, dim=1))
    return pixels.view(3, *chosen.shape).movedim(0, -3)


def _chroma_gain(
    luma: Float[Tensor, "*b 1 h w"], source_luma: Float[Tensor, "*b 1 h w"]
) -> Float[Tensor, "*b 1 h w"]:
    """Return the factor of the chroma: the ratio of the luminances, nearer to 1 for dark pixels.

    Saturation is kept by the ratio r = Y' / Y. If a pixel becomes brighter, only the part
    Y^2 / (Y^2 + D^2) of r - 1 is applied. This is the Wiener filter for a signal Y in noise D. It
    needs no division by Y, and limits the gain to 1 + (Y' - Y) / (2 D).

    Args:
        luma: Luminance of the fused image in [0, 1].
        source_luma: Luminance of the source in [0, 1].
    """
    brighter = 1 + (luma - source_luma) * source_luma / (source_luma.square() + _DARK**2)
    # A luminance of 0 has no colour to scale; the limit avoids 0 / 0.
    darker = luma / source_luma.clamp_min(1e-6)
    return torch.where(luma > source_luma, brighter, darker)


def _flat(image: Float[Tensor, "*b c h w"]) -> Float[Tensor, "c n"]:
    return image.movedim(-3, 0).flatten(1)


def _chunk(luma: Tensor) -> int:
    return _CHUNK if luma.is_cpu else max(1, luma.numel())


def _keep_hue(
    source: Float[Tensor, "3 n"],
    source_luma: Float[Tensor, "1 n"],
    luma: Float[Tensor, "1 n"],
    gain: Float[Tensor, "1 n"],
) -> Float[Tensor, "3 n"]:
    """Return RGB with the hue of ``source`` and its saturation times ``gain``, as far as it fits.

    Scaling light changes neither hue nor saturation (chroma through lightness) of OKLab, so all
    colours are compared at the scale where their largest channel is 1.

    Args:
        source: RGB in [0, 1].
        source_luma: Luminance of ``source``.
        luma: Luminance of the result.
        gain: Factor of Cb and Cr; the channels may then exceed 1.
    """
    hue, _ = _hue_and_saturation(source)
    _, most = _hue_and_saturation(luma + gain * (source - source_luma))
    # The more saturated the brightest colour of a hue is, the darker it is. Where it would be
    # darker than the result, find the saturation at which both are equal.
    bright = _brightest(hue, most)
    over = (_luminance(bright) < luma).flatten().nonzero().squeeze(1)
    if len(over):
        sub_hue, sub_luma, high = (x.index_select(1, over) for x in (hue, luma, most))
        fitting = _brightest(sub_hue, _find_saturation(sub_hue, sub_luma, high))
        bright = bright.index_copy(1, over, fitting)
    # Scaling sRGB values instead of light is the same but for the darkest colours.
    rgb = bright * (luma / _luminance(bright).clamp_min(1e-6))
    # The saturation is found but for a small rest, which can leave a channel just above 1.
    _, chroma = split_chroma(rgb[..., None])
    assert chroma is not None
    return join_chroma(luma[..., None], chroma)[..., 0]


def _find_saturation(
    hue: Float[Tensor, "2 n"], luma: Float[Tensor, "1 n"], high: Float[Tensor, "1 n"]
) -> Float[Tensor, "1 n"]:
    """Return the saturation at which the brightest colour has this luminance.

    This is the Illinois variant of regula falsi: each step takes the root of the line through both
    ends, and halves the value at an end that stays twice.

    Args:
        hue: Unit vectors.
        luma: Luminance in [0, 1].
        high: A saturation that is too dark; 0 is too bright.
    """
    low, above, below = torch.zeros_like(high), 1 - luma, _luminance(_brightest(hue, high)) - luma
    middle = high
    for _ in range(_STEPS):
        middle = (low * below - high * above) / (below - above)
        found = _luminance(_brightest(hue, middle)) - luma
        bright = found.detach().ge(0).to(found.dtype)  # torch.where is slow on a CPU
        low, high = torch.lerp(low, middle, bright), torch.lerp(middle, high, bright)
        above, below = (
            torch.lerp(above / 2, found, bright),
            torch.lerp(found, below / 2, bright),
        )
    return middle


def _hue_and_saturation(rgb: Float[Tensor, "3 n"]) -> tuple[Tensor, Tensor]:
    """Return hue as a unit vector (2, n), and chroma through lightness (1, n)."""
    rgb = rgb.clamp_min(0)
    lab = rgb_to_oklab(srgb_to_linear(rgb / rgb.amax(0, keepdim=True).clamp_min(1e-6)))
    # The sum of squares, because torch.norm over a short axis takes most of the time of the rule.
    chroma = (lab[1:2].square() + lab[2:].square()).sqrt()
    return lab[1:] / chroma.clamp_min(1e-9), chroma / lab[:1].clamp_min(1e-6)


def _brightest(hue: Float[Tensor, "2 n"], saturation: Float[Tensor, "1 n"]) -> Float[Tensor, "3 n"]:
    """Return the RGB whose largest channel is 1."""
    lab = torch.cat((torch.ones_like(saturation), hue * saturation))
    light = oklab_to_rgb(lab).clamp_min(0)
    return linear_to_srgb(light / light.amax(0, keepdim=True))


def _luminance(rgb: Float[Tensor, "3 n"]) -> Float[Tensor, "1 n"]:
    return luminance(rgb[..., None])[..., 0]
