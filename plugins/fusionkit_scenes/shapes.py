"""Anti-aliased shapes, painted onto a canvas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit_scenes.canvas import Array, Canvas, Surface

# Arrays, which take half the time of Python's numbers beside small arrays.
_ZERO, _HALF, _ONE = (np.array(value, np.float32) for value in (0, 0.5, 1))


@dataclass(frozen=True)
class Brush:
    """Paints shapes of one class at one distance.

    Attributes:
        canvas: The maps to paint onto.
        label: Class of the shapes, one of ``CLASSES``.
        depth: Distance from the camera in metres.

    Example:
        >>> canvas = Canvas(16, np.zeros((2, 16, 16), np.float32))
        >>> Brush(canvas, "sign", 20.0).ellipse(8, 8, 4, 4, Surface((0.9, 0.1, 0.1), 15.0))
        >>> canvas.depth[8, 8].item(), canvas.depth[0, 0].item()
        (20.0, 1000.0)
    """

    canvas: Canvas
    label: str
    depth: float

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        surface: Surface,
        *,
        round_by: float = 0.0,
    ) -> None:
        """Paint a rectangle; ``round_by`` is the radius of its corners in pixels."""
        window = self.canvas.window(left, top, right, bottom)
        if window is None:
            return
        ys, xs, corner = window
        dx = np.abs(xs - (left + right) / 2) - (right - left) / 2 + round_by
        dy = np.abs(ys - (top + bottom) / 2) - (bottom - top) / 2 + round_by
        distance = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        inner = np.maximum(dx, dy)
        np.minimum(inner, _ZERO, out=inner)
        distance += inner
        if round_by:
            distance -= round_by
        self._paint(distance, corner, surface)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, surface: Surface, *, ring: float = 0.0
    ) -> None:
        """Paint an ellipse, or only a ring of a width of ``ring`` pixels along its border."""
        window = self.canvas.window(x - rx, y - ry, x + rx, y + ry)
        if window is None:
            return
        ys, xs, corner = window
        rx, ry = max(rx, 0.5), max(ry, 0.5)
        distance = np.hypot((xs - x) / rx, (ys - y) / ry)
        distance -= _ONE
        distance *= min(rx, ry)
        if ring:
            distance = np.abs(distance + ring / 2) - ring / 2
        self._paint(distance, corner, surface)

    def line(
        self, start: tuple[float, float], end: tuple[float, float], width: float, surface: Surface
    ) -> None:
        """Paint a line with round ends from one (x, y) to another."""
        (x0, y0), (x1, y1) = start, end
        half = max(width / 2, 0.35)
        window = self.canvas.window(
            min(x0, x1) - half, min(y0, y1) - half, max(x0, x1) + half, max(y0, y1) + half
        )
        if window is None:
            return
        ys, xs, corner = window
        dx, dy = x1 - x0, y1 - y0
        from_x, from_y = xs - x0, ys - y0
        along = from_x * dx + from_y * dy
        along /= max(dx * dx + dy * dy, 1e-6)
        np.minimum(np.maximum(along, _ZERO, out=along), _ONE, out=along)
        distance = np.hypot(from_x - along * dx, from_y - along * dy)
        distance -= half
        self._paint(distance, corner, surface)

    def trapezoid(
        self,
        top: float,
        bottom: float,
        upper: tuple[float, float],
        lower: tuple[float, float],
        surface: Surface,
    ) -> None:
        """Paint a trapezoid; ``upper`` and ``lower`` are the (left, right) of its level edges."""
        window = self.canvas.window(min(upper[0], lower[0]), top, max(upper[1], lower[1]), bottom)
        if window is None:
            return
        ys, xs, corner = window
        t = np.minimum(np.maximum((ys - top) / max(bottom - top, 1e-3), 0), 1)
        left = upper[0] + t * (lower[0] - upper[0])
        right = upper[1] + t * (lower[1] - upper[1])
        distance = np.maximum(left - xs, xs - right)
        np.maximum(distance, np.maximum(top - ys, ys - bottom), out=distance)
        self._paint(distance, corner, surface)

    def _paint(self, distance: Array, corner: tuple[int, int], surface: Surface) -> None:
        """Paint a shape given the signed distance of each pixel to its border, in pixels.

        The array of distances is used up.
        """
        coverage = np.subtract(_HALF, distance, out=distance)
        np.minimum(np.maximum(coverage, _ZERO, out=coverage), _ONE, out=coverage)
        self.canvas.paint(coverage, corner, surface, self.label, self.depth)
