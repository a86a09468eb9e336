"""Moves what was made on the CPU to the device, without making the CPU wait."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")


def send(x: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on a device; the CPU does not wait until the copy is done.

    Args:
        x: The tensor; it must not be changed afterwards.
        device: The device; for the CPU, x itself is returned.

    Example:
        >>> send(torch.zeros(2), torch.device("cpu"))
        tensor([0., 0.])
    """
    if device.type == "cuda":
        x = x.pin_memory()  # a copy from other memory would wait
    return x.to(device, non_blocking=device.type != "mps")


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield items while another thread makes the next one.

    The first is made by the caller's thread. What it starts, such as processes that make patches,
    ends with its thread, and the other thread ends with the items.

    Args:
        items: The items; after an error or an early end, one more may have been made.

    Example:
        >>> list(one_ahead(iter("abc")))
        ['a', 'b', 'c']
    """
    end = object()
    item = next(items, end)
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        while item is not end:
            ahead = thread.submit(next, items, end)
            yield item  # type: ignore[misc]
            item = ahead.result()
