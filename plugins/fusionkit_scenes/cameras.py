"""Models of a visible and a thermal infrared camera."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from fusionkit_scenes.canvas import Array
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.layout import Scene

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def visible_camera(scene: Scene, light: Array, draws: Draws) -> Array:
    """Return the (3, h, w) colour image of a scene, in [0, 1] with 8-bit levels.

    Models haze, bloom, automatic exposure, blur, noise and gamma. Haze replaces light from far away
    by the brightness of the air. Images at night are exposed longer and have more noise.

    Args:
        scene: The scene.
        light: (3, h, w) light that falls on the surfaces, see ``illumination``.
        draws: Random numbers for exposure and noise.
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
    """Return the (1, h, w) infrared image of a scene, in [0, 1] with 8-bit levels.

    Models an uncooled camera for 8 to 14 micrometres, with blur, noise and automatic gain. The
    radiance is proportional to the fourth power of the temperature (an approximation). Surfaces
    reflect the cold sky in proportion to 1 - emissivity. Fog is almost transparent in this band.
    The automatic gain maps the 1st to 99.5th percentile to 0.04 to 0.94.

    Args:
        scene: The scene.
        draws: Random numbers for the noise.
    """
    canvas = scene.canvas
    emitted = ((canvas.temperature + 273.15) / 300) ** 4
    sky = ((scene.weather.air - 25 + 273.15) / 300) ** 4
    air = ((scene.weather.air + 273.15) / 300) ** 4
    radiance = canvas.emissivity * emitted + (1 - canvas.emissivity) * sky
    clear = np.exp(-0.15 * scene.fog * np.minimum(canvas.depth, 400))
    radiance = radiance * clear + air * (1 - clear)
    seen = _blur(radiance[None], 0.7)
    # Noise of 50 mK at 300 K per pixel, and half as much per column.
    kelvin = 4 / 300
    seen = seen + 0.05 * kelvin * draws.normal(*seen.shape)
    seen = seen + 0.025 * kelvin * draws.normal(1, 1, canvas.size)
    low, high = np.quantile(seen, (0.01, 0.995))
    span = max(float(high - low), 12 * kelvin)
    return _eight_bit(0.04 + 0.90 * (seen - low) / span)


def _blur(x: Array, sigma: float) -> Array:
    """Blur (c, h, w) with a Gaussian as a sum of shifted images; borders are replicated."""
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
    """Return the light above white that the lens scatters widely."""
    excess = np.maximum(radiance - 1.0, 0)
    if not excess.any():
        return excess
    # A wide blur needs no fine grid.
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
