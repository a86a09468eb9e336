"""Projective transforms: what a pinhole camera sees when it rotates, zooms or moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Generator, Tensor

from fusionkit.errors import FusionkitError
from fusionkit_deepinv.element import Element, crop_square, pad_to_square
from fusionkit_deepinv.group import Group, draw_parameters
from fusionkit_deepinv.library import deepinv_module

Degrees = Annotated[float, Field(ge=0, le=180)]
Tilt = Annotated[float, Field(ge=0, lt=90)]
Part = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=0.1, le=1)]
Interpolation = Literal["bilinear", "bicubic", "nearest"]

_MODULE = "deepinv.transform.projective"


@dataclass(frozen=True, eq=False)
class Projected(Element):
    """A projective transform; see ``Homography``."""

    def _transform(self, image: Tensor, outside: str = "reflection") -> Tensor:
        # deepinv uses double precision, which GPUs of Apple do not have.
        square = pad_to_square(image.cpu() if image.device.type == "mps" else image, outside)
        made = deepinv_module(_MODULE).Homography(
            padding=outside, device=str(square.device), **self.options
        )
        move = made.inverse if self.inverted else made.transform
        return crop_square(move(square, **self.parameters), image).to(image.device)


class _Projective(Group):
    library = _MODULE
    transform: str
    """Class of deepinv.transform.projective that draws the parameters."""

    def __init__(self, interpolation: Interpolation, **ranges: float):
        super().__init__()
        self.interpolation, self.ranges = interpolation, ranges
        widest = {key: 1.0 if key.endswith("_min") else 0.0 for key in ranges}
        if ranges == widest:
            raise FusionkitError(
                f"{self.name}: expected a range with more than one value; widen one of "
                f"{', '.join(ranges)}"
            )

    def _draw(self, size: tuple[int, int], generator: Generator) -> Projected:
        made: Any = getattr(deepinv_module(_MODULE), self.transform)(**self.ranges)
        return Projected(
            draw_parameters(made, size, generator), {"interpolation": self.interpolation}
        )


class Homography(_Projective):
    """Homographies: rotations of the camera, zooms, shifts, skews (``Homography`` of deepinv).

    The camera has a focal length of 100 pixels, for images of any size. The default ranges are
    narrower than those of deepinv (180 degrees, half the size, a skew of 50), which often move
    the whole image out of sight. Elements that leave less than a tenth of it are drawn again.

    Args:
        theta_max: Largest pan and tilt angle in degrees.
        theta_z_max: Largest rotation in the image plane in degrees.
        zoom_factor_min: Smallest zoom factor; the largest is 1.
        shift_max: Largest shift as a fraction of half the height and width.
        skew_max: Largest skew in pixels, for a focal length of 100 pixels.
        x_stretch_factor_min: Smallest stretch of the width; the largest is 1.
        y_stretch_factor_min: Smallest stretch of the height; the largest is 1.
        interpolation: How to interpolate between pixels.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> group = fk.build("transform", name="deepinv-homography")
        >>> element, = group.sample(1, (32, 48), torch.Generator().manual_seed(0))
        >>> tuple(element.apply(torch.rand(2, 1, 32, 48)).shape)
        (2, 1, 32, 48)
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
    """Affine transforms: rotation, zoom, shift, skew and stretch (``Affine`` of deepinv).

    Args:
        theta_z_max: Largest rotation in degrees.
        zoom_factor_min: Smallest zoom factor; the largest is 1.
        shift_max: Largest shift as a fraction of half the height and width.
        skew_max: Largest skew in pixels, for a focal length of 100 pixels.
        x_stretch_factor_min: Smallest stretch of the width; the largest is 1.
        y_stretch_factor_min: Smallest stretch of the height; the largest is 1.
        interpolation: How to interpolate between pixels.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> group = fk.build("transform", name="deepinv-affine")
        >>> element, = group.sample(1, (32, 48), torch.Generator().manual_seed(0))
        >>> tuple(element.apply(torch.rand(2, 1, 32, 48)).shape)
        (2, 1, 32, 48)
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
    """Similarities: rotations, zooms and shifts (``Similarity`` of deepinv).

    Args:
        theta_z_max: Largest rotation in degrees.
        zoom_factor_min: Smallest zoom factor; the largest is 1.
        shift_max: Largest shift as a fraction of half the height and width.
        interpolation: How to interpolate between pixels.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> group = fk.build("transform", name="deepinv-similarity")
        >>> element, = group.sample(1, (32, 48), torch.Generator().manual_seed(0))
        >>> tuple(element.apply(torch.rand(2, 1, 32, 48)).shape)
        (2, 1, 32, 48)
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
    """Euclidean transforms: rotations and shifts (``Euclidean`` of deepinv).

    Args:
        theta_z_max: Largest rotation in degrees.
        shift_max: Largest shift as a fraction of half the height and width.
        interpolation: How to interpolate between pixels.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> group = fk.build("transform", name="deepinv-euclidean")
        >>> element, = group.sample(1, (32, 48), torch.Generator().manual_seed(0))
        >>> tuple(element.apply(torch.rand(2, 1, 32, 48)).shape)
        (2, 1, 32, 48)
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
    """Rotations of the camera: pan, tilt and roll (``PanTiltRotate`` of deepinv).

    The camera has a focal length of 100 pixels.

    Args:
        theta_max: Largest pan and tilt angle in degrees.
        theta_z_max: Largest rotation in the image plane in degrees.
        interpolation: How to interpolate between pixels.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> group = fk.build("transform", name="deepinv-pan-tilt-rotate")
        >>> element, = group.sample(1, (32, 48), torch.Generator().manual_seed(0))
        >>> tuple(element.apply(torch.rand(2, 1, 32, 48)).shape)
        (2, 1, 32, 48)
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
