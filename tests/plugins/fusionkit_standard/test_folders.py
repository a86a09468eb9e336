"""Data set ``paired-folders``: pairing, splits, patches and errors."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Dataset, Patches
from fusionkit.io.images import write_image
from fusionkit_standard.folders import PairedFolders

BOTH = ("infrared", "visible")


def picture(dtype: type = np.uint8, channels: int = 1, size=(40, 53), seed: int = 0) -> np.ndarray:
    shape = (*size, channels) if channels > 1 else size
    noise = np.random.default_rng(seed).random(shape)
    if np.dtype(dtype).kind == "f":
        return noise.astype(dtype)
    return np.rint(noise * np.iinfo(dtype).max).astype(dtype)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with twelve pairs of noise: grey infrared, colour visible, 40x53 and up."""
    for name in ("IR", "vi"):
        (tmp_path / name).mkdir()
    for seed in range(12):
        size = (40 + seed, 53)
        write_image(tmp_path / "IR" / f"{seed:02}.png", picture(size=size, seed=seed))
        write_image(tmp_path / "vi" / f"{seed:02}.bmp", picture(channels=3, size=size, seed=seed))
    return tmp_path


@pytest.mark.parametrize("store", ["memory", "stream"])
def test_samples_have_luminance_and_chroma(root: Path, store):
    dataset = PairedFolders(BOTH, root=root, store=store)
    assert isinstance(dataset, Dataset)
    assert len(dataset) == 12
    for index in (0, 11, 3):
        sample = dataset[index]
        rgb = picture(channels=3, size=(40 + index, 53), seed=index)
        assert sample.id == f"{index:02}"
        assert list(sample.images) == ["infrared", "visible"]
        assert all(x.dtype == torch.float32 for x in sample.images.values())
        ir = picture(size=(40 + index, 53), seed=index)
        assert np.array_equal(sample.images["infrared"][0].numpy(), ir / np.float32(255))
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        assert np.abs(sample.images["visible"][0].numpy() * 255 - grey).max() < 0.51
        assert sample.chroma is not None
        narrow = rgb2ycbcr(rgb)[..., 1:]
        np.testing.assert_allclose(
            sample.chroma.movedim(0, -1).numpy(), (narrow - 128) / 224 + 0.5, atol=1e-4
        )
        assert (sample.bits, sample.crop) == (8, None)
    with pytest.raises(IndexError):
        dataset[12]
    assert len(list(dataset)) == 12  # type: ignore[call-overload]


def test_grey_stored_as_rgb_has_no_chroma_and_bits_are_those_of_the_files(tmp_path: Path):
    for name in BOTH:
        (tmp_path / name).mkdir()
    ir = picture(np.uint16)
    write_image(tmp_path / "infrared" / "a.png", ir)
    write_image(tmp_path / "visible" / "a.png", np.repeat(picture()[..., None], 3, axis=2))
    sample = PairedFolders(BOTH, root=tmp_path)[0]
    assert sample.chroma is None
    assert sample.bits == 16
    assert np.array_equal((sample.images["infrared"][0].numpy() * 65535).round(), ir)


@pytest.mark.parametrize(
    ("val", "held_out"), [(0.0, 0), (0.01, 1), (0.1, 1), (0.25, 3), (0.5, 6), (0.99, 11)]
)
def test_validation_is_the_last_block_by_name(root: Path, val, held_out):
    splits = PairedFolders(BOTH, root=root, val=val).splits()
    assert list(splits["val"]) == list(range(12 - held_out, 12))
    assert list(splits["train"]) == list(range(12 - held_out))


def test_each_pair_is_held_out_by_one_fold(root: Path):
    folds = [PairedFolders(BOTH, root=root, val=0.25, fold=fold).splits() for fold in range(4)]
    assert list(folds[1]["val"]) == [6, 7, 8]
    assert sorted(index for splits in folds for index in splits["val"]) == list(range(12))
    for splits in folds:
        assert sorted([*splits["train"], *splits["val"]]) == list(range(12))
    with pytest.raises(FusionkitError, match=r"fold.*0 to 3.*found 4"):
        PairedFolders(BOTH, root=root, val=0.25, fold=4)
    with pytest.raises(FusionkitError, match=r"fold.*val is 0"):
        PairedFolders(BOTH, root=root, val=0, fold=1)


@pytest.mark.parametrize("store", ["memory", "stream"])
def test_patches_are_cut_on_a_grid(root: Path, store):
    dataset = PairedFolders(BOTH, root=root, patch=16, stride=12, store=store)
    patches = dataset.patches([0, 11])
    places = [
        (name, (top, left))
        for name, height in (("00", 40), ("11", 51))
        for top in range(0, height - 15, 12)
        for left in range(0, 53 - 15, 12)
    ]
    assert [(p.id, p.crop) for p in patches] == places
    for patch in patches:
        assert patch.crop is not None
        assert patch.chroma is None
        top, left = patch.crop
        for name, image in dataset[int(patch.id)].images.items():
            assert torch.equal(patch.images[name], image[:, top : top + 16, left : left + 16])
    assert patches[-1].crop == places[-1][1]
    with pytest.raises(IndexError):
        patches[len(places)]


def test_stride_200_gives_the_official_grid(tmp_path: Path):
    for name in BOTH:
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "a.png", picture(size=(328, 500)))
    crops = [p.crop for p in PairedFolders(BOTH, root=tmp_path).patches([0])]
    assert crops == [(0, 0), (0, 200), (200, 0), (200, 200)]


@pytest.mark.parametrize("low", BOTH)
def test_patches_without_contrast_in_a_source_are_skipped(tmp_path: Path, low):
    for name in BOTH:
        (tmp_path / name).mkdir()
        image = picture(size=(32, 80)) // 2 + 100
        if name == low:
            image[:, 0:16] = 0  # black, NaN in the official code
            image[:, 16:32] = 200  # flat
            image[:, 32:48] = np.where(np.arange(16) % 2, 190, 200)  # 5 percent
            image[:, 48:64] = np.where(np.arange(16) % 2, 150, 200)  # 25 percent
        write_image(tmp_path / name / "a.png", image)
    dataset = PairedFolders(BOTH, root=tmp_path, patch=16, stride=16)
    assert {p.crop[1] for p in dataset.patches([0]) if p.crop} == {48, 64}
    loose = PairedFolders(BOTH, root=tmp_path, patch=16, stride=16, min_contrast=0)
    assert {p.crop[1] for p in loose.patches([0]) if p.crop} == {16, 32, 48, 64}
    strict = PairedFolders(BOTH, root=tmp_path, patch=16, stride=16, min_contrast=0.99)
    with pytest.raises(FusionkitError, match=r"min_contrast=0\.99"):
        strict.patches([0])
    assert len(strict.patches([])) == 0


@pytest.mark.parametrize("low", BOTH)
def test_a_stream_takes_the_next_patch_of_the_pair_that_has_contrast(tmp_path: Path, low):
    for name in BOTH:
        (tmp_path / name).mkdir()
        image = picture(size=(16, 80))
        flat = image.copy()
        flat[:, 16:48] = 100  # places 1 and 2 of 5
        flat[:, 64:] = 0  # the last one
        write_image(tmp_path / name / "a.png", flat if name == low else image)
        write_image(tmp_path / name / "b.png", np.full_like(image, 7))
    dataset = PairedFolders(BOTH, root=tmp_path, patch=16, stride=16, store="stream")
    patches = dataset.patches([1, 0])
    assert [(p.id, p.crop) for p in patches] == [
        *(("b", (0, 16 * k)) for k in range(5)),
        *(("a", (0, 16 * k)) for k in (0, 3, 3, 3, 0)),
    ]
    assert isinstance(patches, Patches)
    assert [list(patches.together(k)) for k in (0, 4, 5)] == [
        [*range(5)],
        [*range(5)],
        [*range(5, 10)],
    ]


def test_contrast_matches_the_percentiles_of_numpy(root: Path):
    dataset = PairedFolders(BOTH, root=root, patch=16, stride=8, min_contrast=0.66)
    kept = {(p.id, p.crop) for p in dataset.patches(range(12))}
    expected = set()
    for index in range(12):
        sample = dataset[index]
        height, width = sample.images["visible"].shape[-2:]
        for top in range(0, height - 15, 8):
            for left in range(0, width - 15, 8):
                contrasts = []
                for image in sample.images.values():
                    cut = image[0, top : top + 16, left : left + 16].numpy()
                    low, high = np.percentile(cut, [10, 90])
                    contrasts.append((high - low) / high)
                if min(contrasts) >= 0.66:
                    expected.add((sample.id, (top, left)))
    assert 0 < len(kept) < 12 * 4 * 5
    assert kept == expected


def test_image_smaller_than_a_patch_is_named(root: Path):
    dataset = PairedFolders(BOTH, root=root, patch=64)
    message = r"IR/00\.png.*64x64.*40x53.*patch to 32"
    with pytest.raises(FusionkitError, match=message):
        dataset.patches([0])


def test_damaged_file_is_found_when_it_is_read(root: Path):
    path = root / "vi" / "11.bmp"
    path.write_bytes(path.read_bytes()[:999])
    with pytest.raises(FusionkitError, match=r"vi/11\.bmp"):
        PairedFolders(BOTH, root=root)
    stream = PairedFolders(BOTH, root=root, patch=16, store="stream")
    patches = stream.patches([10, 11])
    assert patches[0].id == "10"
    with pytest.raises(FusionkitError, match=r"vi/11\.bmp"):
        _ = patches[-1]


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "1 pixels that are NaN"), (300.0, "0 to 300")]
)
def test_invalid_float_file_is_found_when_the_data_set_is_built(root: Path, value, message):
    (root / "IR" / "05.png").unlink()
    image = np.zeros((45, 53), np.float32)
    image[1, 1] = value
    write_image(root / "IR" / "05.tif", image)
    with pytest.raises(FusionkitError, match=rf"IR/05\.tif: .*{message}"):
        PairedFolders(BOTH, root=root)


def test_memory_keeps_integers_and_stream_keeps_few_pairs(root: Path):
    kept = PairedFolders(BOTH, root=root)._cache
    assert len(kept) == 12
    assert all(a.dtype == np.uint8 for arrays in kept.values() for a in arrays.values())
    stream = PairedFolders(BOTH, root=root, store="stream")
    assert [stream[i].id for i in range(12)] == [f"{i:02}" for i in range(12)]
    assert len(stream._cache) == 8


def test_data_set_can_be_sent_to_worker_processes(root: Path):
    patches = PairedFolders(BOTH, root=root, patch=16, store="stream").patches([0, 1])
    again = pickle.loads(pickle.dumps(patches))
    assert torch.equal(again[1].images["visible"], patches[1].images["visible"])


def test_decoded_images_are_not_sent(root: Path):
    dataset = PairedFolders(BOTH, root=root)
    again = pickle.loads(pickle.dumps(dataset))
    assert (len(again._cache), len(dataset._cache)) == (0, 12)
    assert torch.equal(again[3].images["visible"], dataset[3].images["visible"])


@pytest.mark.parametrize(
    ("infrared", "visible"),
    [("Infrared", "Visible"), ("thermal", "RGB"), ("lwir", "vis"), ("ir", "vi")],
)
def test_usual_folder_names_are_found(tmp_path: Path, infrared, visible):
    for name in (infrared, visible):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "a.png", picture())
    (pair,) = PairedFolders(BOTH, root=tmp_path).pairs
    assert [path.parent.name for path in pair.paths.values()] == [infrared, visible]


def test_folders_can_be_given_by_modality(root: Path):
    dataset = PairedFolders(("hot", "day"), folders={"day": root / "vi", "hot": root / "IR"})
    assert list(dataset[0].images) == ["hot", "day"]


def test_missing_folders_raise(root: Path, tmp_path: Path):
    message = r"folder for mri.*found IR, vi.*\{mri: PATH"
    with pytest.raises(FusionkitError, match=message):
        PairedFolders(("mri", "pet"), root=root)
    with pytest.raises(FusionkitError, match=r"folder for infrared.*found no folders"):
        PairedFolders(BOTH, root=root / "vi")
    with pytest.raises(FusionkitError, match="nowhere"):
        PairedFolders(BOTH, root=root / "nowhere")
    with pytest.raises(FusionkitError, match=r"root.*infrared: PATH, visible: PATH.*neither"):
        PairedFolders(BOTH)
    with pytest.raises(FusionkitError, match=r"root.*both"):
        PairedFolders(BOTH, root=root, folders={"infrared": root, "visible": root})
    expected = r"folders: .*infrared, visible.*found infrared, day"
    with pytest.raises(FusionkitError, match=expected):
        PairedFolders(BOTH, folders={"infrared": root / "IR", "day": root / "vi"})
    (root / "IR" / "03.png").unlink()
    with pytest.raises(FusionkitError, match=r"03 \(no infrared\)"):
        PairedFolders(BOTH, root=root)


def test_real_road_scenes_have_patches_and_colour(data_root: Path):
    dataset = PairedFolders(BOTH, root=data_root / "roadscene", store="stream")
    splits = dataset.splits()
    assert len(splits["train"]) + len(splits["val"]) == len(dataset)
    assert len(splits["val"]) == round(0.1 * len(dataset))
    assert dataset[0].chroma is not None
    patches = dataset.patches(splits["train"][:6])
    assert len(patches) > 0
    assert patches[0].images["infrared"].shape == (1, 128, 128)


@pytest.mark.parametrize("pair", ["mri_ct", "mri_pet", "mri_spect"])
def test_real_medical_images_have_the_colour_of_their_modality(data_root: Path, pair):
    dataset = PairedFolders(tuple(pair.split("_")), root=data_root / "harvard" / pair)
    sample = dataset[0]
    assert set(sample.images) == set(pair.split("_"))
    assert (sample.chroma is None) == (pair == "mri_ct")
