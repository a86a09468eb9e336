"""Classic fusion methods against independent implementations, and their common properties."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import pywt
import torch
from PIL import Image

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.functional import metrics
from fusionkit.interfaces import Sample
from fusionkit_classic import guided, matrices, pyramid, saliency, strips, wavelet

FUSERS = ["average", "max", "laplacian-pyramid", "wavelet", "guided-filter", "saliency"]


def random_images(*shape, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    names = ("infrared", "visible", "near")
    return {name: torch.rand(*shape, generator=generator) for name in names[:count]}


@pytest.fixture(params=FUSERS)
def fuser(request):
    return fk.build("backbone", name=request.param).eval()


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (64, 48)])
def test_equal_sources_are_returned_unchanged(fuser, size):
    x = random_images(2, 1, *size)["infrared"]
    assert torch.allclose(fuser({"a": x, "b": x}), x, atol=1e-5)


def test_the_order_of_the_sources_does_not_matter(fuser):
    sources = random_images(1, 1, 32, 40)
    assert torch.allclose(fuser(sources), fuser(dict(reversed(sources.items()))), atol=1e-6)


def test_images_of_a_batch_are_fused_independently(fuser):
    sources = random_images(3, 1, 32, 40)
    together = fuser(sources)
    alone = [fuser({m: x[k : k + 1] for m, x in sources.items()}) for k in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_three_sources_are_fused_with_finite_gradients_into_the_unit_range(fuser):
    sources = random_images(1, 1, 24, 31, count=3)
    for x in sources.values():
        x.requires_grad_()
    fused = fuser(sources)
    assert fused.shape == (1, 1, 24, 31)
    assert 0 <= fused.min() <= fused.max() <= 1
    fused.sum().backward()
    for x in sources.values():
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


def test_pyramid_downsamples_like_opencv():
    for size in ((64, 48), (33, 50), (8, 41)):
        x = torch.rand(1, 1, *size)
        expected = cv2.pyrDown(x[0, 0].numpy(), borderType=cv2.BORDER_REFLECT_101)
        assert np.allclose(pyramid.downsample(x)[0, 0].numpy(), expected, atol=1e-6)


def test_pyramid_upsamples_like_opencv_away_from_the_border():
    x = torch.rand(1, 1, 32, 24)
    expected = cv2.pyrUp(x[0, 0].numpy())
    found = pyramid.upsample(x, (64, 48))[0, 0].numpy()
    assert np.allclose(found[4:-4, 4:-4], expected[4:-4, 4:-4], atol=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (33, 50), (7, 90)])
def test_recompose_inverts_the_details_of_one_source(size):
    x = torch.rand(1, 2, *size)
    details, bases = pyramid.fuse_details(x, 4)
    assert torch.allclose(pyramid.recompose(details, bases[0]), x[0], atol=1e-6)


def binomial(image):
    taps = np.array([1, 4, 6, 4, 1]) / 16
    return cv2.sepFilter2D(image, -1, taps, taps, borderType=cv2.BORDER_REFLECT_101)


@pytest.mark.parametrize("longest", [0, matrices.LONGEST])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("size", [(64, 48), (61, 83)])
def test_laplacian_pyramid_matches_a_program_of_opencv(longest, count, size, monkeypatch):
    monkeypatch.setattr(matrices, "LONGEST", longest)
    # In double precision, so that no two activities are equal but for rounding.
    sources = {name: x.double() for name, x in random_images(1, 1, *size, count=count).items()}
    levels, details = [x[0, 0].numpy() for x in sources.values()], []
    for _ in range(3):
        down = [cv2.pyrDown(x) for x in levels]
        # pyrUp treats the border in another way.
        up = [expand(x, levels[0].shape) for x in down]
        bands = np.stack([x - y for x, y in zip(levels, up, strict=True)])
        winner = np.stack([binomial(np.abs(band)) for band in bands]).argmax(axis=0)
        details.append(np.take_along_axis(bands, winner[None], axis=0)[0])
        levels = down
    expected = np.mean(levels, axis=0)
    for band in reversed(details):
        expected = expand(expected, band.shape) + band
    fuser = fk.build("backbone", name="laplacian-pyramid", levels=3)
    assert np.allclose(fuser(sources)[0, 0].numpy(), expected.clip(0, 1), atol=1e-9)


def expand(image, shape):
    image = np.pad(image, 1, mode="reflect")
    spread = np.zeros((2 * image.shape[0], 2 * image.shape[1]), image.dtype)
    spread[::2, ::2] = image
    return 4 * binomial(spread)[2 : 2 + shape[0], 2 : 2 + shape[1]]


@pytest.mark.parametrize("size", [(16, 16), (7, 90), (100, 145), (143, 160)])
def test_products_with_matrices_give_what_shifted_sums_give(size, monkeypatch):
    x = torch.stack(list(random_images(2, 1, *size, count=3).values())).squeeze(2).double()
    details, bases = pyramid.fuse_details(x, 4)
    monkeypatch.setattr(matrices, "LONGEST", 0)
    expected, expected_bases = pyramid.fuse_details(x, 4)
    assert len(details) == len(expected)
    for level, other in zip([*details, bases], [*expected, expected_bases], strict=True):
        assert torch.allclose(level, other, atol=1e-12)


def test_small_images_are_fused_in_training_after_inference_and_under_autocast():
    fuser = fk.build("backbone", name="laplacian-pyramid")
    sources = random_images(2, 1, 40, 56)
    with torch.inference_mode():
        expected = fuser(sources)
    for x in sources.values():
        x.requires_grad_()
    fuser(sources).sum().backward()
    assert all(x.grad is not None and torch.isfinite(x.grad).all() for x in sources.values())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(fuser(sources), expected, atol=1e-6)


def test_strips_leave_no_trace(monkeypatch):
    monkeypatch.setattr(matrices, "LONGEST", 0)
    sources = random_images(2, 1, 131, 47, count=3)
    fusers = [
        fk.build("backbone", name="laplacian-pyramid"),
        fk.build("backbone", name="saliency", targets="near"),
        fk.build("backbone", name="guided-filter", base_radius=20),
    ]
    whole = [fuser(sources) for fuser in fusers]
    monkeypatch.setattr(strips, "STRIP", 1)
    monkeypatch.setattr(guided, "_STRIP", 1)
    for fuser, expected in zip(fusers, whole, strict=True):
        assert torch.allclose(fuser(sources), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["haar", "db2", "sym4"])
def test_wavelet_filters_and_bands_match_pywavelets(name):
    assert np.allclose(wavelet.LOW_PASS[name], pywt.Wavelet(name).dec_lo)
    assert np.allclose(wavelet.filters(name, torch.zeros(1))[1] * 2**0.5, pywt.Wavelet(name).dec_hi)
    x = torch.rand(1, 1, 64, 64, dtype=torch.float64)
    details, approximation = wavelet.analyse(x, *wavelet.filters(name, x), 1)
    # pywt flips the filter and starts elsewhere, so compare the spread of each band only
    ((a, (h, v, d)),) = pywt.swt2(x[0, 0].numpy(), name, 1, norm=True)
    for found, expected in zip((approximation, *details), (a, v, h, d), strict=True):
        inner = found[0, 0, 16:-16, 16:-16].numpy()
        assert np.std(inner) == pytest.approx(np.std(expected[16:-16, 16:-16]), rel=0.1)


@pytest.mark.parametrize("name", ["haar", "db2", "sym4"])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_synthesise_inverts_analyse(name, step):
    x = torch.rand(2, 1, 40, 37, dtype=torch.float64)
    low, high = wavelet.filters(name, x)
    details, approximation = wavelet.analyse(x, low, high, step)
    assert torch.allclose(wavelet.synthesise(approximation, details, low, high, step), x)


def test_guided_filter_matches_the_textbook_formula():
    guide, x = torch.rand(2, 1, 1, 40, 52, dtype=torch.float64)
    radius, eps = 5, 0.01

    def box(image):
        kernel = (2 * radius + 1, 2 * radius + 1)
        total = cv2.boxFilter(image, -1, kernel, normalize=False, borderType=cv2.BORDER_CONSTANT)
        ones = np.ones_like(image)
        return total / cv2.boxFilter(
            ones, -1, kernel, normalize=False, borderType=cv2.BORDER_CONSTANT
        )

    i, p = guide[0, 0].numpy(), x[0, 0].numpy()
    a = (box(i * p) - box(i) * box(p)) / (box(i * i) - box(i) ** 2 + eps)
    expected = box(a) * i + box(box(p) - a * box(i))
    found = guided.guided_filter(guide, x, radius, eps)[0, 0].numpy()
    assert np.allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("radius", [1, 4, 30])
@pytest.mark.parametrize("size", [(21, 37), (9, 1), (1, 12)])
def test_box_mean_matches_opencv(size, radius):
    x = torch.rand(3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = (2 * radius + 1, 2 * radius + 1)
    options = {"normalize": False, "borderType": cv2.BORDER_CONSTANT}
    count = cv2.boxFilter(np.ones(size), -1, kernel, **options).reshape(size)
    found = guided.box_mean(x, radius)
    for image, mean in zip(x.numpy(), found.numpy(), strict=True):
        total = cv2.boxFilter(image, -1, kernel, **options).reshape(size)
        assert np.allclose(mean, total / count, atol=1e-12)


def test_running_sums_keep_their_precision_in_a_large_image():
    x = torch.rand(1, 700, 900, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    corner = guided.box_mean(x[..., -60:, -60:], 7)
    assert torch.allclose(
        guided.box_mean(x, 7)[..., -50:, -50:], corner[..., -50:, -50:], atol=1e-12
    )


def test_histogram_contrast_is_the_mean_difference_to_all_pixels():
    x = torch.rand(2, 1, 9, 11)
    flat = x.flatten(1)
    expected = (flat[:, :, None] - flat[:, None, :]).abs().mean(dim=2).view_as(x)
    expected = expected / expected.amax(dim=(2, 3), keepdim=True)
    assert torch.allclose(saliency.histogram_contrast(x), expected, atol=1e-5)


def test_brightness_reduces_the_halo_of_an_edge_against_a_saturated_sky():
    sky = torch.zeros(1, 1, 192, 64, dtype=torch.bool)
    sky[:, :, :112] = True
    sources = {"infrared": torch.where(sky, 0.1, 0.5), "visible": torch.where(sky, 1.0, 0.35)}

    def halo(brightness, where="everywhere"):
        fuser = fk.build("backbone", name="saliency", levels=5, brightness=brightness, where=where)
        rows = fuser(sources).mean(dim=(0, 1, 3))
        return float(rows[104:112].mean() - rows[:32].mean())

    assert halo(0.0) > 0.2
    assert abs(halo(2.0)) < halo(0.0) / 3
    assert abs(halo(4.0, "conflict")) < halo(0.0) / 2.5


def test_conflict_brightness_ignores_pixels_that_are_bright_or_dark_in_both_sources():
    ramp = torch.linspace(0, 0.4, 64).expand(1, 1, 64, 64)
    for offset in (0.1, 0.55):
        sources = {"infrared": ramp + offset, "visible": ramp.flip(-1) + offset}
        plain, everywhere, conflict = (
            fk.build("backbone", name="saliency", levels=3, **options)(sources)
            for options in ({}, {"brightness": 4.0}, {"brightness": 4.0, "where": "conflict"})
        )
        assert torch.equal(conflict, plain)
        assert float((everywhere - plain).mean()) > 0.02


def test_base_weights_follow_the_formula_of_the_docstring():
    sources = random_images(1, 1, 24, 24)
    x = torch.stack(list(sources.values())).squeeze(2)
    fuser = saliency.Saliency(levels=1, strength=1.5, brightness=2.5)
    details, base = pyramid.fuse_details(x, 1)
    contrast = saliency.histogram_contrast(base)
    terms = 1.5 * (contrast - contrast.mean(0)) + 2.5 * (base - base.mean(0))
    weight = (0.5 + terms / 2).clamp(0, 1)
    fused = (weight * base).sum(0) / weight.sum(0)
    expected = pyramid.recompose(details, fused)
    assert torch.allclose(fuser(sources)[:, 0], expected.clamp(0, 1), atol=1e-6)


def hot_target_and_bright_wall():
    """Return a warm square, dark among strong stripes in the visible image, and a cold square."""
    visible = (torch.arange(128) // 8 % 2).float().mul(0.6).add(0.3).expand(1, 1, 128, 128).clone()
    infrared = torch.full((1, 1, 128, 128), 0.2)
    visible[..., 48:80, 48:64] = 0.1
    infrared[..., 48:80, 48:64] = 0.7
    infrared[..., 16:32, 96:112] = 0.0
    return {"infrared": infrared, "visible": visible}


def test_targets_keep_the_contrast_of_their_source():
    sources = hot_target_and_bright_wall()

    def contrast(image):
        around = torch.cat([image[..., 48:80, 32:48], image[..., 48:80, 64:80]], dim=-1)
        return float(image[..., 52:76, 52:60].mean() - around.mean())

    plain, kept = (
        fk.build("backbone", name="saliency", levels=5, **options)(sources)
        for options in ({}, {"targets": "infrared"})
    )
    assert contrast(plain) < 0.25
    assert contrast(kept) > contrast(plain) + 0.1
    # no pixel gets darker, and a square that is colder than its surroundings does not change
    assert float((kept - plain).min()) >= 0
    assert torch.equal(kept[..., 16:32, 96:112], plain[..., 16:32, 96:112])


def test_targets_must_name_a_source():
    fuser = fk.build("backbone", name="saliency", targets="infrarad")
    with pytest.raises(FusionkitError, match=r"targets.*'infrarad'.*'infrared'"):
        fuser(hot_target_and_bright_wall())


def test_every_method_but_average_gives_sharper_images_on_a_real_pair(data_root):
    def grey(path):
        return torch.from_numpy(np.array(Image.open(path).convert("L"))).float()[None, None] / 255

    sources = {
        m: grey(data_root / "tno" / d / "08.png")
        for m, d in (("infrared", "ir"), ("visible", "vi"))
    }
    levels = [(x * 255).round() for x in sources.values()]
    found = {}
    for name in FUSERS:
        fused = (fk.build("backbone", name=name)(sources) * 255).round()
        found[name] = (
            float(metrics.average_gradient(fused)),
            float(metrics.differences_correlation(fused, levels)),
        )
    for name in set(FUSERS) - {"average"}:
        assert found[name][0] > found["average"][0], name
    assert found["saliency"][1] > found["laplacian-pyramid"][1] > found["average"][1]


@pytest.fixture
def results(tmp_path):
    for name in ("a", "b"):
        pixels = np.full((20, 30, 3), (200, 100, 50), np.uint8)
        pixels[4:8, 5:9] = 255
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def sample(name="a", size=(20, 30), crop=None):
    return Sample(name, {m: torch.zeros(1, *size) for m in ("infrared", "visible")}, crop=crop)


def test_folder_reads_fused_images_by_name(results):
    folder = fk.build("backbone", name="folder", root=str(results))
    fused = folder.fuse(sample())
    assert fused.shape == (1, 20, 30)
    assert fused[0, 0, 0].item() == pytest.approx((0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255)
    patch = folder.fuse(sample(size=(4, 4), crop=(4, 5)))
    assert torch.allclose(patch, torch.ones(1, 4, 4))


def test_folder_errors_name_the_file_and_the_sizes(results):
    folder = fk.build("backbone", name="folder", root=str(results))
    with pytest.raises(FusionkitError, match=r"'c'.*2 images"):
        folder.fuse(sample("c"))
    with pytest.raises(FusionkitError, match=r"21x30.*20x30"):
        folder.fuse(sample(size=(21, 30)))
    with pytest.raises(FusionkitError, match="file name"):
        folder({"a": torch.zeros(1, 1, 20, 30)})
    with pytest.raises(FusionkitError, match="does not exist"):
        fk.build("backbone", name="folder", root=str(results / "none"))
