"""Groups of projective maps: what a pinhole camera sees when it turns, zooms or is replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Generator, Tensor

from fusionkit.errors import FusionkitError
from fusionkit_deepinv.element import Element, off_square, on_square
from fusionkit_deepinv.group import Group, drawn_by
from fusionkit_deepinv.library import deepinv_module

Degrees = Annotated[float, Field(ge=0, le=180)]
Tilt = Annotated[float, Field(ge=0, lt=90)]
Part = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=0.1, le=1)]
Interpolation = Literal["bilinear", "bicubic", "nearest"]

_MODULE = "deepinv.transform.projective"


@dataclass(frozen=True, eq=False)
class Projected(Element):
    """A projective map; see ``Homography``."""

    def _moved(self, image: Tensor, outside: str = "reflection") -> Tensor:
        # Double precision, which deepinv computes in, does not exist on Apple's GPUs.
        square = on_square(image.cpu() if image.device.type == "mps" else image, outside)
        made = deepinv_module(_MODULE).Homography(
            padding=outside, device=str(square.device), **self.options
        )
        move = made.inverse if self.inverted else made.transform
        return off_square(move(square, **self.parameters), image).to(image.device)


class _Projective(Group):
    library = _MODULE
    transform: str
    """The class of deepinv's that draws."""

    def __init__(self, interpolation: Interpolation, **ranges: float):
        super().__init__()
        self.interpolation, self.ranges = interpolation, ranges
        widest = {key: 1.0 if key.endswith("_min") else 0.0 for key in ranges}
        if ranges == widest:
            raise FusionkitError(
                f"{self.name}: nothing is left to draw from; widen one of {', '.join(ranges)}"
            )

    def _draw(self, size: tuple[int, int], generator: Generator) -> Projected:
        made: Any = getattr(deepinv_module(_MODULE), self.transform)(**self.ranges)
        return Projected(drawn_by(made, size, generator), {"interpolation": self.interpolation})


class Homography(_Projective):
    """Homographies by their geometry, deepinv's ``Homography``.

    Turning and tilting are those of a camera with a focal length of 100 pixels, whatever the size
    of the image. deepinv's own ranges (180 degrees, half the size, a skew of 50) mostly leave
    nothing of the image; elements that leave less than a tenth are drawn again.

    Args:
        theta_max: Largest pan and tilt, in degrees.
        theta_z_max: Largest rotation in the plane, in degrees.
        zoom_factor_min: Smallest zoom, up to 1.
        shift_max: Largest shift as a part of half the height and width.
        skew_max: Largest skew, in pixels per focal length of 100.
        x_stretch_factor_min: Smallest stretch of the width, up to 1.
        y_stretch_factor_min: Smallest stretch of the height, up to 1.
        interpolation: How pixels between pixels are made.
    """

    name = "deepinv-homography"
    transform = "Homography"

    def __init__(
        self,
        theta_max: Tilt = 10.0,
        theta_z_max: Degrees = 180.0,
        zoom_factor_min: Factor = 0.75,
        shift_max: Part = 0.25,
        skew_max: Annotated[float, Field(ge=0)] = 10.0,
        x_stretch_factor_min: Factor = 0.75,
        y_stretch_factor_min: Factor = 0.75,
        interpolation: Interpolation = "bilinear",
    ):
        super().__init__(
            interpolation,
            theta_max=theta_max,
            theta_z_max=theta_z_max,
            zoom_factor_min=zoom_factor_min,
            shift_max=shift_max,
            skew_max=skew_max,
            x_stretch_factor_min=x_stretch_factor_min,
            y_stretch_factor_min=y_stretch_factor_min,
        )


class Affine(_Projective):
    """Affine maps: rotation, zoom, shift, skew and stretch; deepinv's ``Affine``.

    Args:
        theta_z_max: Largest rotation, in degrees.
        zoom_factor_min: Smallest zoom, up to 1.
        shift_max: Largest shift as a part of half the height and width.
        skew_max: Largest skew, in pixels per focal length of 100.
        x_stretch_factor_min: Smallest stretch of the width, up to 1.
        y_stretch_factor_min: Smallest stretch of the height, up to 1.
        interpolation: How pixels between pixels are made.
    """

    name = "deepinv-affine"
    transform = "Affine"

    def __init__(
        self,
        theta_z_max: Degrees = 180.0,
        zoom_factor_min: Factor = 0.75,
        shift_max: Part = 0.25,
        skew_max: Annotated[float, Field(ge=0)] = 10.0,
        x_stretch_factor_min: Factor = 0.75,
        y_stretch_factor_min: Factor = 0.75,
        interpolation: Interpolation = "bilinear",
    ):
        super().__init__(
            interpolation,
            theta_z_max=theta_z_max,
            zoom_factor_min=zoom_factor_min,
            shift_max=shift_max,
            skew_max=skew_max,
            x_stretch_factor_min=x_stretch_factor_min,
            y_stretch_factor_min=y_stretch_factor_min,
        )


class Similarity(_Projective):
    """Rotations, zooms and shifts; deepinv's ``Similarity``.

    Args:
        theta_z_max: Largest rotation, in degrees.
        zoom_factor_min: Smallest zoom, up to 1.
        shift_max: Largest shift as a part of half the height and width.
        interpolation: How pixels between pixels are made.
    """

    name = "deepinv-similarity"
    transform = "Similarity"

    def __init__(
        self,
        theta_z_max: Degrees = 180.0,
        zoom_factor_min: Factor = 0.75,
        shift_max: Part = 0.25,
        interpolation: Interpolation = "bilinear",
    ):
        super().__init__(
            interpolation,
            theta_z_max=theta_z_max,
            zoom_factor_min=zoom_factor_min,
            shift_max=shift_max,
        )


class Euclidean(_Projective):
    """Rotations and shifts; deepinv's ``Euclidean``.

    Args:
        theta_z_max: Largest rotation, in degrees.
        shift_max: Largest shift as a part of half the height and width.
        interpolation: How pixels between pixels are made.
    """

    name = "deepinv-euclidean"
    transform = "Euclidean"

    def __init__(
        self,
        theta_z_max: Degrees = 180.0,
        shift_max: Part = 0.25,
        interpolation: Interpolation = "bilinear",
    ):
        super().__init__(interpolation, theta_z_max=theta_z_max, shift_max=shift_max)


class PanTiltRotate(_Projective):
    """Rotations of the camera in space, deepinv's ``PanTiltRotate`` (see ``deepinv-homography``).

    Args:
        theta_max: Largest pan and tilt, in degrees.
        theta_z_max: Largest rotation in the plane, in degrees.
        interpolation: How pixels between pixels are made.
    """

    name = "deepinv-pan-tilt-rotate"
    transform = "PanTiltRotate"

    def __init__(
        self,
        theta_max: Tilt = 10.0,
        theta_z_max: Degrees = 180.0,
        interpolation: Interpolation = "bilinear",
    ):
        super().__init__(interpolation, theta_max=theta_max, theta_z_max=theta_z_max)
