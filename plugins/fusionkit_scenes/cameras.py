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
    reach = max(1, round(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    taps = torch.exp(-(offsets**2) / (2 * sigma**2))
    taps = taps / taps.sum()
    image = torch.from_numpy(np.ascontiguousarray(x))[:, None]
    image = F.pad(image, (reach,) * 4, mode="replicate")
    image = F.conv2d(image, taps.view(1, 1, 1, -1))
    return F.conv2d(image, taps.view(1, 1, -1, 1))[:, 0].numpy()


def _bloom(radiance: Array, strength: float) -> Array:
    """Light that bright sources scatter inside the lens: what exceeds white, spread widely."""
    excess = torch.from_numpy(np.maximum(radiance - 1.0, 0))[None]
    size = radiance.shape[-1]
    small = F.avg_pool2d(excess, 4, ceil_mode=True)[0].numpy()
    near = _blur(small, 1.2)
    far = _blur(small, 4.0)
    spread = torch.from_numpy(0.5 * near + 2.2 * far)[None]
    full = F.interpolate(spread, size=(size, size), mode="bilinear", align_corners=False)
    return (strength * full[0]).numpy()


def _eight_bit(x: Array) -> Array:
    return (np.rint(np.clip(x, 0, 1) * 255) / 255).astype(np.float32)
