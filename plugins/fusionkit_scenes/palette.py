"""Colours of clothes and of painted metal."""

from __future__ import annotations

from fusionkit_scenes.canvas import Colour

CLOTHES: tuple[Colour, ...] = (
    (0.06, 0.06, 0.08),
    (0.10, 0.12, 0.22),
    (0.30, 0.08, 0.07),
    (0.35, 0.33, 0.30),
    (0.08, 0.16, 0.10),
    (0.55, 0.52, 0.48),
    (0.12, 0.20, 0.38),
)

PAINTS: tuple[Colour, ...] = (
    (0.62, 0.62, 0.64),
    (0.05, 0.05, 0.06),
    (0.45, 0.05, 0.05),
    (0.08, 0.14, 0.36),
    (0.30, 0.31, 0.33),
    (0.70, 0.68, 0.60),
    (0.10, 0.26, 0.16),
)
