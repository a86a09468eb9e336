"""Two cameras that look at one scene: one for visible light, one for its heat."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from fusionkit_scenes.canvas import Array
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.layout import Scene

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def visible_camera(scene: Scene, light: Array, draws: Draws) -> Array:
    """Return (3, h, w) in [0, 1], 8 bit: exposure, bloom, blur, noise, gamma.

    Reflected and own light reach the camera through the air, which replaces it by its own
    brightness with the distance; night exposes longer, and so shows more noise.
    """
    canvas = scene.canvas
    radiance = canvas.albedo * light + canvas.glow
    clear = np.exp(-scene.fog * np.minimum(canvas.depth, 400))
    haze = 0.045 if scene.weather.night else 0.60
    radiance = radiance * clear + haze * (1 - clear)
    radiance += _bloom(radiance, 0.22 if scene.condition in ("glare", "fog") else 0.08)
    middle = float(np.tensordot(_LUMA, radiance, 1).mean())
    target = draws.uniform(0.07, 0.13) if scene.weather.night else draws.uniform(0.20, 0.30)
    gain = min(target / max(middle, 1e-4), 3.0)
    exposed = _blur(radiance * gain, 0.45)
    noise = 0.010 if scene.weather.night else 0.004
    shot = np.sqrt(np.maximum(exposed, 0) * noise * 0.06 + (noise * 0.35) ** 2)
    exposed = exposed + shot * draws.normal(*exposed.shape)
    return _eight_bit(np.clip(exposed, 0, 1) ** (1 / 2.2))


def infrared_camera(scene: Scene, draws: Draws) -> Array:
    """Return (1, h, w) in [0, 1], 8 bit: band radiance, blur, noise, automatic gain.

    An uncooled camera for 8 to 14 micrometres, where radiance grows with about the fourth power of
    the temperature; what a surface does not emit, it reflects of the cold sky. Fog is nearly
    transparent there. The gain maps the 1st to the 99.5th percentile to the whole range.
    """
    canvas = scene.canvas
    own = ((canvas.temperature + 273.15) / 300) ** 4
    sky = ((scene.weather.air - 25 + 273.15) / 300) ** 4
    air = ((scene.weather.air + 273.15) / 300) ** 4
    radiance = canvas.emissivity * own + (1 - canvas.emissivity) * sky
    clear = np.exp(-0.15 * scene.fog * np.minimum(canvas.depth, 400))
    radiance = radiance * clear + air * (1 - clear)
    seen = _blur(radiance[None], 0.7)
    # 50 mK of noise at 300 K, and columns that differ by half as much.
    kelvin = 4 / 300
    seen = seen + 0.05 * kelvin * draws.normal(*seen.shape)
    seen = seen + 0.025 * kelvin * draws.normal(1, 1, canvas.size)
    low, high = np.quantile(seen, (0.01, 0.995))
    span = max(float(high - low), 12 * kelvin)
    return _eight_bit(0.04 + 0.90 * (seen - low) / span)


def _blur(x: Array, sigma: float) -> Array:
    """Gaussian blur of (c, h, w), replicated borders, as sums of shifted images."""
    reach = max(1, round(3 * sigma))
    offsets = np.arange(reach + 1, dtype=np.float32)
    taps = np.exp(-(offsets**2) / (2 * sigma**2))
    taps /= taps[0] + 2 * taps[1:].sum()
    for axis in (1, 2):
        widths = [(0, 0)] * 3
        widths[axis] = (reach, reach)
        padded = np.pad(x, widths, mode="edge")
        length = x.shape[axis]

        def shifted(by: int, axis: int = axis, padded: Array = padded, n: int = length) -> Array:
            return padded[(slice(None),) * axis + (slice(reach + by, reach + by + n),)]

        total = taps[0] * shifted(0)
        for k in range(1, reach + 1):
            total += taps[k] * (shifted(k) + shifted(-k))
        x = total
    return x


def _bloom(radiance: Array, strength: float) -> Array:
    """Light that bright sources scatter inside the lens: what exceeds white, spread widely."""
    excess = np.maximum(radiance - 1.0, 0)
    if not excess.any():
        return excess
    # What is spread widely needs no fine grid.
    size = radiance.shape[-1]
    spread = np.zeros_like(radiance)
    for step, sigma, weight in ((4, 1.2, 0.5), (8, 2.0, 2.2)):
        small = F.avg_pool2d(torch.from_numpy(excess)[None], step, ceil_mode=True)[0]
        blurred = torch.from_numpy(_blur(small.numpy(), sigma))[None]
        full = F.interpolate(blurred, size=(size, size), mode="bilinear", align_corners=False)
        spread += weight * full[0].numpy()
    return strength * spread


def _eight_bit(x: Array) -> Array:
    return (np.rint(np.clip(x, 0, 1) * 255) / 255).astype(np.float32)
