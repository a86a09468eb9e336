"""Labelled data sets, read from small folders in the published layouts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import IGNORED

H, W = 32, 48


def picture(path, seed, colour=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    shape = (H, W, 3) if colour else (H, W)
    Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(path)


def mask(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def build(name, root, **arguments):
    return fk.build("dataset", name=name, root=str(root), **arguments)


@pytest.fixture
def msrs(tmp_path):
    for split, names in (("train", ("00001D", "00002N", "00003D")), ("test", ("00004N",))):
        for k, name in enumerate(names):
            picture(tmp_path / split / "ir" / f"{name}.png", k)
            picture(tmp_path / split / "vi" / f"{name}.png", k + 9, colour=True)
            values = np.zeros((H, W))
            values[:8] = 2
            values[8:16] = 8
            values[-1] = 255
            mask(tmp_path / split / "Segmentation_labels" / f"{name}.png", values)
    return tmp_path


def test_msrs(msrs):
    dataset = build("msrs", msrs)
    assert len(dataset.mask_classes) == 9
    assert dataset.mask_classes[2] == "Person"
    assert [dataset.id(k) for k in dataset.splits()["train"]] == ["00001D", "00002N", "00003D"]
    assert [dataset.id(k) for k in dataset.splits()["test"]] == ["00004N"]
    sample = dataset[0]
    assert sample.images["infrared"].shape == (1, H, W)
    assert sample.chroma.shape == (2, H, W)
    assert sample.mask.dtype == torch.int64
    assert sample.mask.unique().tolist() == [0, 2, 8, IGNORED]
    assert set(dataset.files(0)) == {"infrared", "visible", "mask"}
    assert [len(s) for s in build("msrs", msrs, limit=1).splits().values()] == [1, 0, 1]


def test_msrs_without_split_folders_is_all_test(msrs):
    dataset = build("msrs", msrs / "train")
    assert len(dataset.splits()["test"]) == 3
    assert not dataset.splits()["train"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda p: mask(p, np.zeros((H, W - 8))),
            r"00002N\.png: the mask has 32x40 pixels .*, its images have 32x48",
        ),
        (lambda p: p.unlink(), r"1 label files are missing: .*00002N\.png"),
    ],
)
def test_masks_that_do_not_fit_are_refused_at_once(msrs, spoil, message):
    spoil(msrs / "train" / "Segmentation_labels" / "00002N.png")
    with pytest.raises(FusionkitError, match=message):
        build("msrs", msrs)


def test_mask_values_that_belong_to_no_class_are_refused(msrs):
    path = msrs / "train" / "Segmentation_labels" / "00001D.png"
    mask(path, np.full((H, W), 9))
    with pytest.raises(FusionkitError, match="has the value 9, expected a class from 0 to 8"):
        build("msrs", msrs)[0]
    colours = np.zeros((H, W, 3))
    colours[..., 0] = 120
    mask(path, colours)
    with pytest.raises(FusionkitError, match="expected a mask of class indices, found colours"):
        build("msrs", msrs)[0]


def test_fmb(tmp_path):
    for split in ("train", "test"):
        picture(tmp_path / split / "Infrared" / "a.png", 0)
        picture(tmp_path / split / "Visible" / "a.png", 1, colour=True)
        mask(tmp_path / split / "Label" / "a.png", np.full((H, W), 14))
    dataset = build("fmb", tmp_path)
    assert len(dataset.mask_classes) == 15
    assert dataset.mask_classes[14] == "Pole"
    assert dataset[1].mask.unique().tolist() == [14]
    with pytest.raises(FusionkitError, match="has neither train/ and test/ nor Infrared/"):
        build("fmb", tmp_path / "train" / "Label")


@pytest.fixture
def mfnet(tmp_path):
    names = {"train": ["00001D", "00002N", "00001D_flip"], "val": ["00003D"], "test": ["00004N"]}
    for split, own in names.items():
        text(tmp_path / f"{split}.txt", "\n".join(own) + "\n")
        for k, name in enumerate(own):
            pixels = np.random.default_rng(k).integers(0, 256, (H, W, 4)).astype(np.uint8)
            (tmp_path / "images").mkdir(exist_ok=True)
            Image.fromarray(pixels, "RGBA").save(tmp_path / "images" / f"{name}.png")
            mask(tmp_path / "labels" / f"{name}.png", np.full((H, W), 2))
    return tmp_path


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_mfnet(mfnet):
    dataset = build("mfnet", mfnet)
    counts = {split: len(scenes) for split, scenes in dataset.splits().items()}
    assert counts == {"train": 2, "val": 1, "test": 1}
    sample = dataset[1]
    pixels = np.asarray(Image.open(mfnet / "images" / "00002N.png")).astype(np.float32) / 255
    assert np.allclose(sample.images["infrared"][0], pixels[..., 3])
    luma = pixels[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    assert np.allclose(sample.images["visible"][0], luma, atol=1e-3)
    assert sample.chroma.shape == (2, H, W)
    assert sample.mask.unique().tolist() == [2]
    assert set(dataset.files(0)) == {"infrared", "visible", "mask"}
    picture(mfnet / "images" / "00001D.png", 0, colour=True)
    with pytest.raises(FusionkitError, match="expected four channels, found RGB"):
        dataset[0]
    text(mfnet / "val.txt", "../up")
    with pytest.raises(FusionkitError, match="expected names of scenes"):
        build("mfnet", mfnet)
    (mfnet / "val.txt").unlink()
    with pytest.raises(FusionkitError, match=r"val\.txt"):
        build("mfnet", mfnet)


@pytest.mark.parametrize("folder", ["MSRS", "msrs"])
def test_a_labelled_data_set_is_found_by_name(msrs, tmp_path_factory, monkeypatch, folder):
    base = tmp_path_factory.mktemp("sets")
    monkeypatch.setenv("FUSIONKIT_DATA", str(base))
    for name in ("msrs", "fmb", "m3fd", "llvip", "mfnet"):
        with pytest.raises(FusionkitError, match=f"fusionkit data get {name}"):
            fk.build("dataset", name=name)
    (base / folder).symlink_to(msrs)
    assert len(fk.build("dataset", name="msrs")) == 4


@pytest.fixture
def detection(tmp_path):
    for split in ("train", "test"):
        for k, name in enumerate(("1D", "2N")):
            picture(tmp_path / split / "ir" / f"{name}.png", k)
            picture(tmp_path / split / "vi" / f"{name}.png", k + 9, colour=True)
            text(
                tmp_path / split / "det" / f"{name}.txt",
                "0 0.5 0.5 0.2 0.4\n2 0.9 0.5 0.2004 0.4\n",
            )
    text(tmp_path / "train" / "det" / "2N.txt", "")
    return tmp_path


def test_msrs_detection(detection):
    dataset = build("msrs-detection", detection)
    assert dataset.box_classes == ("person", "bicycle", "car")
    boxes = dataset[0].boxes
    assert boxes[0].tolist() == pytest.approx([0, 0.5, 0.5, 0.2, 0.4])
    # a rounded box is cut at the border
    assert float(boxes[1, 1] + boxes[1, 3] / 2) == pytest.approx(1)
    assert dataset[1].boxes.shape == (0, 5)
    assert set(dataset.files(0)) == {"infrared", "visible", "boxes"}
    with pytest.raises(FusionkitError, match=r"the folder .*det_ir is missing"):
        build("msrs-detection", detection, labels="det_ir")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "0 0.95 0.5 0.2 0.4",
            r"1D\.txt:2: the box from \(0.85, 0.3\) to \(1.05, 0.7\)",
        ),
        ("3 0.5 0.5 0.2 0.4", r"1D\.txt:2: the class id is 3, expected one from 0 to 2 \(person"),
        ("0.5 0.5 0.5 0.2 0.4", r"1D\.txt:2: the class id is 0.5"),
        ("0 0.5 0.5 0.2", r"1D\.txt:2: expected `class cx cy width height`, found '0 0.5"),
        ("0 0.5 0.5 0.2 x", r"1D\.txt:2: expected `class cx cy width height`"),
        ("0 0.5 0.5 0.0 0.4", r"1D\.txt:2: the box is empty"),
    ],
)
def test_faulty_yolo_lines_are_named(detection, line, message):
    text(detection / "test" / "det" / "1D.txt", f"0 0.5 0.5 0.2 0.4\n{line}\n")
    with pytest.raises(FusionkitError, match=message):
        build("msrs-detection", detection)


def voc(*objects):
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
        f"<ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d in objects
    )
    return f"<annotation><size><width>{W}</width></size>{items}</annotation>"


def test_m3fd(tmp_path):
    for k in range(20):
        picture(tmp_path / "Ir" / f"{k:05d}.png", k)
        picture(tmp_path / "Vis" / f"{k:05d}.png", k + 50, colour=True)
        text(tmp_path / "Annotation" / f"{k:05d}.xml", voc(("Lamp", 12, 8, 24, 16)))
    dataset = build("m3fd", tmp_path)
    assert [len(s) for s in dataset.splits().values()] == [16, 2, 2]
    assert dataset[0].boxes[0].tolist() == pytest.approx([3, 18 / W, 12 / H, 12 / W, 8 / H])
    text(tmp_path / "Annotation" / "00003.xml", voc(("Lampp", 1, 1, 5, 5)))
    with pytest.raises(
        FusionkitError, match=r"object 1: the class is 'Lampp'.*did you mean 'Lamp'"
    ):
        build("m3fd", tmp_path)
    text(tmp_path / "Annotation" / "00003.xml", voc(("Car", 1, 1, 60, 5)))
    with pytest.raises(FusionkitError, match=r"00003\.xml: object 1: the box from"):
        build("m3fd", tmp_path)
    text(tmp_path / "Annotation" / "00003.xml", voc(("Car", 1, "x", 6, 5)))
    with pytest.raises(FusionkitError, match="expected a number for bndbox/ymin, found 'x'"):
        build("m3fd", tmp_path)
    text(tmp_path / "Annotation" / "00003.xml", "<annotation>")
    with pytest.raises(FusionkitError, match=r"00003\.xml: expected valid XML"):
        build("m3fd", tmp_path)


def test_llvip(tmp_path):
    for split, name in (("train", "010001"), ("train", "010002"), ("test", "190001")):
        picture(tmp_path / "infrared" / split / f"{name}.jpg", 0)
        picture(tmp_path / "visible" / split / f"{name}.jpg", 1, colour=True)
        text(tmp_path / "Annotations" / f"{name}.xml", voc(("person", 0, 0, W, H)))
    dataset = build("llvip", tmp_path)
    assert [len(s) for s in dataset.splits().values()] == [2, 0, 1]
    assert [dataset.group(k) for k in range(3)] == ["camera 01", "camera 01", "camera 19"]
    assert dataset[0].boxes[0].tolist() == pytest.approx([0, 0.5, 0.5, 1, 1])


def test_the_real_pairs_of_msrs(data_root):
    dataset = build("msrs-detection", data_root / "msrs")
    splits = dataset.splits()
    assert (len(splits["train"]), len(splits["test"])) == (140, 60)
    kinds = torch.cat([dataset.labels(dataset._scenes[k])[1][:, 0] for k in splits["train"]])
    assert [int((kinds == k).sum()) for k in range(3)] == [401, 55, 164]
