"""Warnings about arithmetic that the processor does not have."""

from __future__ import annotations

import logging

import pytest
import torch

from fusionkit.inference.devices import choose_device, warn_if_slow


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("native", [True, False])
def test_one_warning_on_a_cpu_without_16_bit_floats(precision, native, monkeypatch, caplog):
    monkeypatch.setattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported", lambda: native)
    warn_if_slow.cache_clear()
    choose_device("cpu")
    assert warnings(caplog) == []
    choose_device("cpu", precision)
    choose_device("cpu", precision)
    assert [precision in text for text in warnings(caplog)] == ([] if native else [True])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_pytorch_says_what_the_cpu_has(precision):
    assert getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported")() in (True, False)
