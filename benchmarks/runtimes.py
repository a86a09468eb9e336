"""Compares runtimes and precisions of the packaged model: python -m benchmarks.runtimes DATA.

DATA holds tno/{ir,vi} and roadscene/{ir,vi}. The packaged model is exported, the files are
converted to 16-bit floats and quantized to 8 bits, and everything fuses the same held-out pairs on
one thread. The table goes to benchmarks/results/runtimes.md. fusionkit itself offers the rows that
pay; this script builds the others.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime import quantization
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor

import fusionkit as fk
from benchmarks.speed.measurement import time_in_turn
from fusionkit.api import weights_of
from fusionkit.functional.colour import channels_first, luminance
from fusionkit.inference.devices import in_precision
from fusionkit.inference.onnx_export import export_onnx
from fusionkit.inference.onnx_model import OnnxModel
from fusionkit.inference.openvino_model import OpenVinoModel, import_openvino
from fusionkit.interfaces import Backbone, Images, Sample
from fusionkit.io.images import list_images, read_image

MODEL = "emma-ir-vis"
RESULTS = Path(__file__).parent / "results" / "runtimes.md"
METRICS = ("EN", "SD", "SF", "AG", "SCD", "VIF", "Qabf", "SSIM")
CALIBRATION = 8
"""Pairs of RoadScene, the first by name, that the ranges of 8-bit activations are taken from."""
CROP = 256
"""Side of the middle part of these pairs that is used."""
SIZE = (480, 640)


class Bfloat16(Backbone):
    """A network in 16-bit floats (bfloat16), by ``torch.autocast``."""

    name = "bfloat16"

    def __init__(self, network: Backbone):
        super().__init__()
        self.network, self.stride, self.modalities = network, network.stride, network.modalities

    def forward(self, sources: Images) -> Tensor:
        """Fuse a batch."""
        with in_precision(torch.device("cpu"), "bf16"):
            return self.network(sources).float()


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Args:
        runtime: Name of the runtime.
        precision: How weights and activations are kept.
        files: The files of the network; none for the packaged weights.
        network: It, loaded; None if the runtime refuses the file.
        refusal: Why.
    """

    runtime: str
    precision: str
    files: tuple[Path, ...]
    network: Backbone | None
    refusal: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--onnx", type=Path, help="the exported model, if it is there already")
    parser.add_argument("--tno", type=int, default=4, help="number of pairs")
    parser.add_argument("--roadscene", type=int, default=6, help="number of pairs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.ERROR)
    pairs = [
        *read_pairs(options.data / "tno", slice(0, options.tno)),
        *read_pairs(options.data / "roadscene", slice(-options.roadscene, None)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        calibration = read_pairs(options.data / "roadscene", slice(0, CALIBRATION))
        variants = list(make_variants(Path(folder), options.onnx, list(calibration)))
        text = page(
            variants, pairs, f"{options.tno} pairs of TNO, {options.roadscene} of RoadScene"
        )
    print(text)
    RESULTS.write_text(text, encoding="utf-8")


def read_pairs(folder: Path, which: slice) -> Iterator[Sample]:
    """Yield pairs of a set in the order of their names."""
    infrared, visible = (list_images(folder / name) for name in ("ir", "vi"))
    for stem in sorted(infrared.keys() & visible.keys())[which]:
        images = {"infrared": infrared[stem], "visible": visible[stem]}
        yield Sample(
            stem,
            {
                name: luminance(channels_first(read_image(path)).float() / 255)
                for name, path in images.items()
            },
        )


def make_variants(
    folder: Path, exported: Path | None, calibration: Sequence[Sample]
) -> Iterator[Variant]:
    """Yield all rows; the first is what the others are compared with."""
    exact = fk.load(MODEL, exact=True)
    fast = fk.load(MODEL)
    yield Variant("PyTorch, as `fuse` runs it", "fp32", (), fast)
    yield Variant("PyTorch, `--exact`", "fp32", (), exact)
    yield Variant("PyTorch, as `fuse` runs it", "bf16", (), Bfloat16(fast))
    plain = folder / "fp32.onnx"
    if exported is None:
        export_onnx(exact, plain)
    else:
        plain.write_bytes(exported.read_bytes())
    half, quantized = folder / "fp16.onnx", folder / "int8.onnx"
    onnx.save(convert_float_to_float16(onnx.load(plain), keep_io_types=True), half)
    quantize(plain, quantized, calibration)
    for precision, path in (("fp32", plain), ("fp16", half), ("int8 convolutions", quantized)):
        yield _variant("ONNX Runtime", precision, (path,), OnnxModel)
    openvino = import_openvino()
    for precision, path in (
        ("fp32", plain),
        ("fp16 weights", plain),
        ("int8 convolutions", quantized),
    ):
        written = folder / f"{precision.replace(' ', '-')}.xml"
        read = openvino.Core().read_model(path)
        openvino.save_model(read, written, compress_to_fp16="fp16" in precision)
        files = (written, written.with_suffix(".bin"))
        yield _variant("OpenVINO", precision, files, OpenVinoModel)


def _variant(
    runtime: str, precision: str, files: tuple[Path, ...], load: Callable[[Path], Backbone]
) -> Variant:
    try:
        return Variant(runtime, precision, files, load(files[0]))
    except fk.FusionkitError as error:
        return Variant(runtime, precision, files, None, str(error))


class Calibration(quantization.CalibrationDataReader):
    """Gives the middle of each pair to the quantizer."""

    def __init__(self, pairs: Sequence[Sample]):
        self._pairs = iter(pairs)

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        """Return the inputs of one run, or None after the last."""
        pair = next(self._pairs, None)
        return pair and {name: _middle(x)[None].numpy() for name, x in pair.images.items()}


def _middle(image: Tensor) -> Tensor:
    top, left = ((side - CROP) // 2 for side in image.shape[-2:])
    return image[:, top : top + CROP, left : left + CROP].contiguous()


def quantize(source: Path, target: Path, calibration: Sequence[Sample]) -> None:
    """Quantize weights (per channel) and inputs of all convolutions to 8 bits."""
    quantization.quantize_static(
        source,
        target,
        Calibration(calibration),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "ConvTranspose"],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )


def page(variants: Sequence[Variant], pairs: Sequence[Sample], what: str) -> str:
    random = torch.Generator().manual_seed(0)
    noise = {name: torch.rand(1, *SIZE, generator=random) for name in ("infrared", "visible")}
    sample = Sample("noise", noise)
    working = {k: v.network for k, v in enumerate(variants) if v.network is not None}
    seconds = time_in_turn(
        {str(k): lambda network=network: network.fuse(sample) for k, network in working.items()}, 3
    )
    first = variants[0].network
    assert first is not None
    expected = [first.fuse(pair) for pair in pairs]
    reference = scores(expected, pairs)
    lines = [
        "| runtime | precision | MB | time | loss, dB | worst pair, dB | "
        + " | ".join(METRICS)
        + " |",
        "|---|---|--:|--:|--:|--:|" + "--:|" * len(METRICS),
    ]
    for k, variant in enumerate(variants):
        size = (
            sum(file.stat().st_size for file in variant.files) or weights_of(MODEL).stat().st_size
        )
        cells = [variant.runtime, variant.precision, f"{size / 1e6:.1f}"]
        if variant.network is None:
            cells += ["refused", *[""] * (2 + len(METRICS))]
        else:
            fused = [variant.network.fuse(pair) for pair in pairs]
            loss = [psnr(one, other) for one, other in zip(fused, expected, strict=True)]
            values = scores(fused, pairs)
            signs = [
                f"{values[m]:.3f}" if k == 0 else f"{values[m] - reference[m]:+.3f}"
                for m in METRICS
            ]
            decibels = ["", ""] if k == 0 else [_db(float(np.mean(loss))), _db(min(loss))]
            cells += [f"{seconds[str(k)] / seconds['0']:.2f}", *decibels, *signs]
        lines.append(f"| {' | '.join(cells)} |")
    about = (
        f"`python -m benchmarks.runtimes DATA` wrote this page, from {what}.\n"
        f"Time at {SIZE[1]}x{SIZE[0]} on one thread, as a multiple of the first row; all rows\n"
        f"take turns in one run, and the best time counts. Loss is the PSNR against the first\n"
        f"row. Metrics are those of the first row, and differences from them.\n"
        f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}.\n"
    )
    refused = [f"\n{v.runtime}, {v.precision}: {v.refusal}" for v in variants if v.refusal]
    return "\n".join(["# Runtimes\n", about, *lines, *refused, ""])


def scores(fused: Sequence[Tensor], pairs: Sequence[Sample]) -> dict[str, float]:
    """Return means of the metrics over all pairs."""
    values = [
        fk.evaluate(
            image[0].numpy(), {n: x[0].numpy() for n, x in pair.images.items()}, metrics=METRICS
        )
        for image, pair in zip(fused, pairs, strict=True)
    ]
    return {m: float(np.mean([value[m] for value in values])) for m in METRICS}


def psnr(one: Tensor, other: Tensor) -> float:
    error = float((one - other).double().square().mean())
    return -10 * float(np.log10(max(error, 1e-20)))


def _db(value: float) -> str:
    return "over 100" if value > 100 else f"{value:.1f}"


if __name__ == "__main__":
    main()
