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
    radiance = canvas.albedo * light
    radiance += canvas.glow
    clear = np.exp(-scene.fog * np.minimum(canvas.depth, 400))
    haze = 0.045 if scene.weather.night else 0.60
    radiance *= clear
    radiance += haze * (1 - clear)
    radiance += _bloom(radiance, 0.22 if scene.condition in ("glare", "fog") else 0.08)
    middle = float(np.tensordot(_LUMA, radiance, 1).mean())
    target = draws.uniform(0.07, 0.13) if scene.weather.night else draws.uniform(0.20, 0.30)
    gain = min(target / max(middle, 1e-4), 3.0)
    radiance *= gain
    exposed = _blur(radiance, 0.45)
    noise = 0.010 if scene.weather.night else 0.004
    shot = np.maximum(exposed, 0)
    shot *= noise
    shot *= 0.06
    shot += (noise * 0.35) ** 2
    np.sqrt(shot, out=shot)
    shot *= draws.normal(*exposed.shape)
    exposed += shot
    return _eight_bit(_limit(exposed) ** (1 / 2.2))


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
    seen += 0.05 * kelvin * draws.normal(*seen.shape)
    seen += 0.025 * kelvin * draws.normal(1, 1, canvas.size)
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
        # A view in which the blurred axis is the last one but the memory is the same.
        along = np.moveaxis(x, axis, 0)
        n = len(along)
        padded = np.empty((n + 2 * reach, *along.shape[1:]), np.float32)
        padded[reach : reach + n] = along
        padded[:reach], padded[reach + n :] = along[0], along[-1]
        total = taps[0] * padded[reach : reach + n]
        for k in range(1, reach + 1):
            pair = padded[reach + k : reach + k + n] + padded[reach - k : reach - k + n]
            pair *= taps[k]
            total += pair
        x = np.moveaxis(total, 0, axis)
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


def _limit(x: Array) -> Array:
    """Limit an array to [0, 1], in place."""
    return np.minimum(np.maximum(x, 0, out=x), 1, out=x)


def _eight_bit(x: Array) -> Array:
    """Limit an array to [0, 1] and round it to 8 bits; rows lie one after another in memory."""
    _limit(x)
    x *= 255
    np.rint(x, out=x)
    x /= 255
    return np.ascontiguousarray(x, np.float32)
