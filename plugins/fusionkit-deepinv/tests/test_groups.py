"""Properties of all groups: inverses, masks, gradients, orders and reproducible draws."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import pickle
import warnings

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing deepinv raises warnings
    pytest.importorskip("deepinv", reason="deepinv is not installed: pip install fusionkit-deepinv")

from fusionkit.errors import FusionkitError
from fusionkit.registry.plugins import load_plugins
from fusionkit.testing import NotApplicable, cases_of
from fusionkit_deepinv.diffeomorphism import Diffeomorphism
from fusionkit_deepinv.group import MIN_VALID
from fusionkit_deepinv.library import quiet
from fusionkit_deepinv.moves import Reflect, Rotate, Shift
from fusionkit_deepinv.projective import Affine, Euclidean, Homography, PanTiltRotate, Similarity
from fusionkit_deepinv.scale import Scale

SQUARE, OBLONG = (48, 48), (40, 64)
SIZES = (SQUARE, OBLONG, (33, 25))

TOLERANCE = {
    "deepinv-shift": 0.0,
    "deepinv-reflect": 0.0,
    "deepinv-rotate": 0.01,
    "deepinv-scale": 0.04,  # keeps half of the pixels along each axis
    "deepinv-euclidean": 0.01,
    "deepinv-similarity": 0.02,
    "deepinv-affine": 0.02,
    "deepinv-pan-tilt-rotate": 0.02,
    "deepinv-homography": 0.03,
    "deepinv-diffeomorphism": 0.04,
}
"""Largest difference after a transform and its inverse, for ``smooth`` images in [0, 1]."""

MISSED = {"deepinv-homography": 0.1, "deepinv-pan-tilt-rotate": 0.1, "deepinv-diffeomorphism": 0.6}
"""Largest displacement in pixels after a transform and its inverse; 0.02 for all other groups.
Interpolation makes nonlinear maps linear between pixels."""

MAKERS = {
    "shift": Shift,
    "shift-cut": lambda: Shift(shift_max=0.5, circular=False),
    "rotate": Rotate,
    "rotate-quarters": lambda: Rotate(multiples=90, interpolation="nearest"),
    "reflect": Reflect,
    "scale": Scale,
    "scale-up": lambda: Scale(factors=(1.5,), interpolation="bicubic"),
    "euclidean": Euclidean,
    "similarity": Similarity,
    "affine": Affine,
    "pan-tilt-rotate": PanTiltRotate,
    "homography": Homography,
    "diffeomorphism": Diffeomorphism,
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth(size, channels=1):
    """Return images of waves with a wavelength of 40 pixels, in [0.1, 0.9]."""
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij")
    waves = [
        0.5 + 0.2 * torch.sin(2 * math.pi * y / 40 + k) + 0.2 * torch.cos(2 * math.pi * x / 40 - k)
        for k in range(2 * channels)
    ]
    return torch.stack(waves).view(2, channels, *size)


def places_of(size):
    """Return the row and column of each pixel as two channels."""
    return torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij"))[None]


@pytest.fixture(params=MAKERS)
def group(request):
    if request.param == "diffeomorphism" and importlib.util.find_spec("libcpab") is None:
        pytest.skip("libcpab is not installed: pip install libcpab")
    return MAKERS[request.param]()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_inverse_restores_the_valid_pixels(group, size):
    x = smooth(size)
    for element in group.sample(3, size, seeded()):
        assert not torch.allclose(element.apply(x), x, atol=1e-3)
        back = element.inverse()
        restored = back.apply(element.apply(x))
        arrived = back.apply(element.valid(size)[None, None].float())[0, 0]
        seen = back.valid(size) & ((arrived - 1).abs() < 1e-4)
        assert seen.float().mean() >= (0.1 if group.name != "deepinv-shift" else 0.05)
        assert (restored - x)[..., seen].abs().max() <= TOLERANCE[group.name] + 1e-6
        if element.exact and element.valid(size).all():
            assert torch.equal(restored, x)
        if group.name != "deepinv-shift":  # places that wrap around cannot be interpolated
            places = places_of(size)
            missed = (back.apply(element.apply(places)) - places)[..., seen].abs().max()
            assert missed <= MISSED.get(group.name, 0.02)
        assert torch.equal(back.inverse().apply(x), element.apply(x))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_shapes_and_masks_are_those_of_the_contract(group, size):
    x = smooth(size, channels=3)
    for element in group.sample(2, size, seeded(1)):
        moved = element.apply(x)
        assert moved.shape == x.shape
        assert moved.dtype == x.dtype
        assert torch.allclose(element.apply(x[1:, :1]), moved[1:, :1], atol=1e-6)
        mask = element.valid(size)
        assert mask.shape == size
        assert mask.dtype == torch.bool
        assert mask.device.type == "cpu"
        assert mask.any()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_valid_pixels_come_from_inside(group, size):
    """Neither reflected pixels nor zeros outside the image reach valid pixels."""
    if group.name in ("deepinv-shift", "deepinv-reflect", "deepinv-diffeomorphism"):
        pytest.skip("uses no pixels outside the image")
    ones = torch.ones(1, 1, *size)
    for element in group.sample(3, size, seeded(2)):
        mask = element.valid(size)
        seen = element._transform(ones, outside="zeros")[0, 0]
        assert (seen[mask] - 1).abs().max() < 1e-3
        assert (element.apply(ones)[0, 0][mask] - 1).abs().max() < 1e-3


def test_shift_without_wrapping_masks_the_pixels_that_wrap_around():
    places = torch.arange(9.0 * 12).view(1, 1, 9, 12)
    for seed in range(20):
        (element,) = Shift(circular=False).sample(1, (9, 12), seeded(seed))
        rows, columns = element.offsets((9, 12))
        assert abs(rows) < 9
        assert abs(columns) < 12
        moved = element.apply(places)[0, 0]
        assert torch.equal(moved, torch.roll(places[0, 0], (rows, columns), (0, 1)))
        y, x = torch.nonzero(element.valid((9, 12)), as_tuple=True)
        assert len(y) == (9 - abs(rows)) * (12 - abs(columns))
        assert torch.equal(moved[y, x], places[0, 0][y - rows, x - columns])


def test_gradients_are_finite_and_reach_the_image(group):
    for element in group.sample(2, OBLONG, seeded(3)):
        for one in (element, element.inverse()):
            x = smooth(OBLONG).requires_grad_()
            one.apply(x).square().sum().backward()
            assert x.grad is not None
            assert x.grad.isfinite().all()
            assert x.grad.abs().sum() > 0


def test_draws_depend_on_the_generator_only(group):
    x = smooth(SQUARE)
    before = torch.random.get_rng_state()
    generator = seeded(4)
    first = [e.apply(x) for e in group.sample(3, SQUARE, generator)]
    torch.rand(1)  # changes the global state
    torch.random.set_rng_state(before)
    again = [e.apply(x) for e in group.sample(3, SQUARE, seeded(4))]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(generator.get_state(), seeded(4).get_state())
    if group.name != "deepinv-reflect" and not (
        group.name == "deepinv-rotate" and group.multiples == 90
    ):
        other = [e.apply(x) for e in group.sample(3, SQUARE, seeded(5))]
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_elements_differ_and_none_is_the_identity():
    places = torch.arange(12.0).view(1, 1, 3, 4)
    for seed in range(5):
        for group, count, image in (
            (Shift(), 11, places),
            (Reflect(), 3, places),
            (Rotate(multiples=90, interpolation="nearest"), 3, smooth((8, 8))),
        ):
            drawn = [e.apply(image) for e in group.sample(count, image.shape[-2:], seeded(seed))]
            drawn.append(image)
            for k, a in enumerate(drawn):
                assert not any(torch.equal(a, b) for b in drawn[:k])


def test_quarter_turns_are_exact_if_the_image_keeps_its_size():
    for size, exact in ((SQUARE, {90.0, 180.0, 270.0}), (OBLONG, {180.0}), ((25, 25), None)):
        x = torch.rand(1, 1, *size, generator=seeded())
        group = Rotate(multiples=90, interpolation="nearest")
        for element in group.sample(3, size, seeded()):
            degrees = float(element.parameters["theta"]) % 360
            assert element.exact == (exact is None or degrees in exact)
            if element.exact:
                assert torch.equal(element.apply(x), torch.rot90(x, int(degrees // 90), (-2, -1)))
                assert torch.equal(element.inverse().apply(element.apply(x)), x)
    assert not any(e.exact for e in Rotate(multiples=90).sample(3, SQUARE, seeded()))


def test_scaling_keeps_ratios_in_images_that_are_not_square():
    """The scaling of deepinv itself distorts such images."""
    size = (40, 64)
    places = places_of(size)
    for element in Scale(factors=(0.5,)).sample(3, size, seeded(6)):
        mask = element.valid(size)
        inner = mask[1:, 1:] & mask[:-1, 1:] & mask[1:, :-1]
        moved = element.apply(places)[0]
        down = (moved[:, 1:, 1:] - moved[:, :-1, 1:])[:, inner]
        right = (moved[:, 1:, 1:] - moved[:, 1:, :-1])[:, inner]
        step = 2 * 63 / 64  # deepinv samples side - 1 of the pixels
        assert torch.allclose(down, torch.tensor([[step], [0.0]]).expand_as(down), atol=1e-3)
        assert torch.allclose(right, torch.tensor([[0.0], [step]]).expand_as(right), atol=1e-3)


@pytest.mark.parametrize(
    ("group", "size", "order"),
    [
        (Shift(), (3, 4), 11),
        (Shift(shift_max=0.25), (8, 8), 15),
        (Shift(), (1, 9), 0),
        (Rotate(multiples=90), SQUARE, 3),
        (Rotate(limits=180, multiples=90, positive=True), SQUARE, 1),
        (Reflect(), SQUARE, 3),
        (Reflect(axes="height"), SQUARE, 1),
        (Scale(), SQUARE, None),
        (Euclidean(), SQUARE, None),
        (Homography(), SQUARE, None),
    ],
)
def test_order_counts_the_elements_that_can_be_drawn(group, size, order):
    assert group.order(size) == order
    if order:
        assert len(group.sample(order, size, seeded())) == order
        with pytest.raises(FusionkitError, match=rf"{order}\b.*found {order + 1}"):
            group.sample(order + 1, size, seeded())


def test_impossible_counts_and_ranges_raise():
    with pytest.raises(FusionkitError, match=r"deepinv-reflect.*3"):
        Reflect().sample(4, SQUARE, seeded())
    with pytest.raises(FusionkitError, match=r"at most 1 .* found 2"):
        Reflect(axes="width").sample(2, SQUARE, seeded())
    with pytest.raises(FusionkitError, match=r"deepinv-shift.*11"):
        Shift().sample(12, (3, 4), seeded())
    with pytest.raises(FusionkitError, match="at most 0 for images of 1x9"):
        Shift().sample(1, (1, 9), seeded())
    with pytest.raises(FusionkitError, match="at most 3"):
        Rotate(multiples=90).sample(4, SQUARE, seeded())
    with pytest.raises(FusionkitError, match=r"limits=10.*20"):
        Rotate(limits=10, multiples=20)
    with pytest.raises(FusionkitError, match="factors"):
        Scale(factors=(0.5, 1.0))
    with pytest.raises(FusionkitError, match="theta_z_max"):
        Euclidean(theta_z_max=0, shift_max=0)
    with pytest.raises(FusionkitError, match=r"10%.*16x16"):
        Euclidean(theta_z_max=1e-6, shift_max=0).sample(1, (16, 16), seeded())
    assert Shift().sample(0, SQUARE, seeded()) == []


def test_wide_ranges_keep_a_part_of_the_image():
    wide = Homography(theta_max=89, zoom_factor_min=0.3, shift_max=1, skew_max=50)
    for element in wide.sample(3, SQUARE, seeded()):
        assert element.valid(SQUARE).float().mean() >= MIN_VALID


def test_groups_and_elements_can_be_pickled(group):
    (element,) = pickle.loads(pickle.dumps(group)).sample(1, SQUARE, seeded())
    x = smooth(SQUARE)
    assert torch.equal(pickle.loads(pickle.dumps(element)).apply(x), element.apply(x))


def _cases():
    entry = importlib.metadata.EntryPoint("fusionkit-deepinv", "fusionkit_deepinv", "fusionkit")
    plugins = load_plugins([entry])
    assert not plugins.broken
    return cases_of(plugins)


@pytest.mark.parametrize("case", _cases(), ids=str)
def test_groups_keep_the_contract_of_transforms(case):
    try:
        with quiet():
            case.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))
