"""Turns a finished run into a model that a plugin ships: half-precision weights and records.

python benchmarks/package_model.py runs/emma-plus plugins/fusionkit_models/emma-ir-vis.yaml \
    --source infrared=DATA/tno/ir --source visible=DATA/tno/vi --records benchmarks/results/models

The model card must exist; the script fills in its keys `weights` and `sha256`. Weights are stored
as float16 if the fused images of the given pairs have a PSNR of at least 40 dB against those of the
float32 weights, else as float32.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from pathlib import Path

import torch

import fusionkit as fk
from fusionkit.inference.preprocessing import read_samples
from fusionkit.interfaces import Sample
from fusionkit.io.atomic_write import make_folder, write_text
from fusionkit.io.hashes import file_hash
from fusionkit.io.pairs import find_pairs
from fusionkit.registry.model_cards import read_model
from fusionkit.registry.weights import save_weights

ENOUGH = 40.0
"""PSNR in dB from which half precision counts as lossless."""

RECORDS = ("config.yaml", "environment.json", "metrics.json", "log.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description="Package the backbone of a run.")
    parser.add_argument("run", type=Path)
    parser.add_argument("card", type=Path)
    parser.add_argument("--source", action="append", required=True, metavar="MODALITY=FOLDER")
    parser.add_argument(
        "--records", type=Path, help="folder in which to create a folder of the run's records"
    )
    arguments = parser.parse_args()
    sources = dict(text.split("=", 1) for text in arguments.source)
    pairs = find_pairs({modality: Path(folder) for modality, folder in sources.items()})
    text = arguments.card.read_text(encoding="utf-8")
    weights = arguments.card.with_suffix(".safetensors")

    backbone = fk.load(arguments.run, exact=True)
    half = {key: tensor.half() for key, tensor in backbone.state_dict().items()}
    save_weights(backbone, weights, half)
    worst = min(
        psnr(backbone, fk.load(weights, exact=True), sample) for sample in read_samples(pairs)
    )
    print(f"float16 against float32 weights: at least {worst:.1f} dB on {len(pairs)} pairs")
    if worst < ENOUGH:
        save_weights(backbone, weights)
        print(f"less than {ENOUGH} dB: stored as float32")
    for key, value in (("weights", weights.name), ("sha256", file_hash(weights))):
        text = re.sub(rf"(?m)^{key}:.*$", f"{key}: {value}", text)
    write_text(arguments.card, text)
    model = read_model(arguments.card)
    print(f"{model.verify()}: {model.path.stat().st_size / 1e6:.2f} MB")
    if arguments.records is not None:
        folder = arguments.records / model.card.name
        make_folder(folder)
        data = os.environ.get("FUSIONKIT_DATA")
        for name in RECORDS:
            record = (arguments.run / name).read_text(encoding="utf-8")
            # Without paths of this machine, config.yaml runs on other machines too.
            record = record.replace(f"{arguments.run.resolve().parent}/", "runs/")
            write_text(folder / name, record.replace(data, "${FUSIONKIT_DATA}") if data else record)
        print(f"{folder}: {', '.join(RECORDS)}")


@torch.no_grad()
def psnr(first: torch.nn.Module, second: torch.nn.Module, sample: Sample) -> float:
    """Return the PSNR in dB between the fused images of two backbones."""
    error = (first.fuse(sample) - second.fuse(sample)).square().mean().item()  # type: ignore[operator]
    return math.inf if error == 0 else -10 * math.log10(error)


if __name__ == "__main__":
    main()
