"""Chooses the device and the precision that networks fuse with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import torch

from fusionkit.errors import FusionkitError

__all__ = ["Precision", "choose_device", "in_precision", "warn_if_slow"]

logger = logging.getLogger("fusionkit")

Precision = Literal["fp32", "bf16", "fp16"]
"""Arithmetic of networks: 32-bit floats, or 16-bit floats where the network tolerates them."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto", precision: Precision = "fp32") -> torch.device:
    """Return a device by name, and log which one it is if it is a GPU.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto``: the first GPU if there is one.
        precision: Arithmetic to use there. A warning is logged if a CPU has no instructions for it.

    Raises:
        FusionkitError: for another name, or a device that this machine does not have.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else _mps_or_cpu()
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise FusionkitError(f"device: expected auto, cpu, cuda, cuda:N or mps, found {name!r}")
    if device.type == "cpu":
        warn_if_slow(precision)
        return device
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise FusionkitError("device: mps is not available here; use auto or cpu")
        logger.info("device: mps (Apple GPU)")
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        there = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
        raise FusionkitError(f"device: {name} is not available here ({there}); use auto or cpu")
    logger.info("device: %s (%s)", device, torch.cuda.get_device_name(device))
    return device


@cache
def warn_if_slow(precision: Precision) -> None:
    """Log a warning, once in a process, if its CPU has no instructions for a precision.

    Args:
        precision: Arithmetic to use on the CPU.

    Example:
        >>> warn_if_slow("fp32")
    """
    # oneDNN computes convolutions on CPUs.
    is_supported = getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported", None)
    if precision != "fp32" and is_supported is not None and not is_supported():
        logger.warning(
            "precision: this CPU has no instructions for %s, which can take many times as long as "
            "fp32 (bf16 took 15 times as long on such a CPU); use fp32",
            precision,
        )


def _mps_or_cpu() -> str:
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def in_precision(device: torch.device, precision: Precision) -> Iterator[None]:
    """Compute networks in a precision inside a ``with`` block (``torch.autocast``).

    Args:
        device: Where the network is.
        precision: ``fp32`` leaves everything as it is.

    Raises:
        FusionkitError: for another precision.

    Example:
        >>> layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
        >>> with in_precision(torch.device("cpu"), "bf16"):
        ...     layer(x).dtype
        torch.bfloat16
    """
    if precision not in _DTYPES:
        raise FusionkitError(f"precision: expected {', '.join(_DTYPES)}, found {precision!r}")
    if precision == "fp32":
        yield
        return
    with torch.autocast(device.type, dtype=_DTYPES[precision]):
        yield
