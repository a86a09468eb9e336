"""Results survive their files, those of earlier versions included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fusionkit.benchmark.predictions import decode_prediction, encode_prediction
from fusionkit.benchmark.results import decode_result, encode_result, read_results
from fusionkit.benchmark.tables import summarize, to_csv
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import TaskResult

COMMITTED = sorted(Path(__file__).parents[3].glob("benchmarks/results/*/results.json"))


def test_predictions_survive_the_file():
    mask = torch.randint(0, 3, (5, 7), generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[1, 0.5, 0.25, 0.5, 0.5, 0.875]])
    for prediction in (mask, boxes, boxes[:0]):
        found = decode_prediction(json.loads(json.dumps(encode_prediction(prediction))))
        assert torch.equal(found, prediction)
        assert found.dtype == prediction.dtype


def test_a_task_result_survives_the_file():
    result = TaskResult({"mIoU": 0.5}, {"mIoU": {"a": 0.5}}, {"a": torch.zeros(2, 2).long()})
    found = decode_result(json.loads(json.dumps(encode_result(result))))
    assert found.scores == result.scores
    assert found.per_image == result.per_image
    assert torch.equal(found.predictions["a"], result.predictions["a"])


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_results_are_read_written_and_summarized_as_they_are(path, tmp_path):
    results = read_results(path)
    results.write(tmp_path / "results.json")
    expected = json.loads(path.read_text())
    for cell in expected["cells"]:
        cell.setdefault("trained with", None)  # older files lack it
    assert json.loads((tmp_path / "results.json").read_text()) == expected
    rows, ranks = summarize(results.cells, results.reference)
    assert to_csv(rows) == path.with_name("results.csv").read_text()
    assert [r.ranks for r in ranks] == [r.ranks for r in results.ranks]


def test_a_file_that_holds_no_results_is_refused(tmp_path):
    with pytest.raises(FusionkitError, match="there is no file"):
        read_results(tmp_path / "results.json")
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(FusionkitError, match=r"results\.json: expected the results"):
        read_results(tmp_path / "results.json")
