"""Compiles networks for training with ``torch.compile``, and measures how long that takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from fusionkit.interfaces import RunContext

logger = logging.getLogger("fusionkit")


class Compiler:
    """Compiles the networks of a run, if it asks for that and this machine can.

    A network is compiled when it first sees a batch of some size, and again for the gradients.

    Args:
        run: The run; device and the key ``compile`` come from it.

    Attributes:
        seconds: Time that has been spent on compiling, since it was last set to 0.
    """

    def __init__(self, run: RunContext):
        self._enabled = run.config.compile and _is_available(run.fabric.device)
        self._started = 0.0
        self.seconds = 0.0

    def compile(self, network: nn.Module) -> None:
        """Let calls of a network run compiled code; its parts, called alone, stay as they are."""
        if self._enabled:
            network.compile(dynamic=False)  # few sizes, and faster code for each

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Count what is compiled in a ``with`` block."""
        if not self._enabled:
            yield
            return
        from torch._dynamo.callback import callback_handler  # importing it takes a second

        start = callback_handler.register_start_callback(lambda _: self._start())
        end = callback_handler.register_end_callback(lambda _: self._end())
        try:
            yield
        finally:
            callback_handler.remove_start_callback(start)
            callback_handler.remove_end_callback(end)

    def paused(self) -> AbstractContextManager[None]:
        """Return a context in which networks run as they are written.

        Validation uses it: its images have many sizes, and each would be compiled.
        """
        return torch.compiler.set_stance("force_eager") if self._enabled else nullcontext()

    def _start(self) -> None:
        self._started = time.perf_counter()

    def _end(self) -> None:
        self.seconds += time.perf_counter() - self._started


def _is_available(device: torch.device) -> bool:
    """Return whether a small network can be compiled and trained; log a warning if not."""
    probe = nn.Conv2d(1, 1, 3).to(device)
    probe.compile(dynamic=False)
    try:
        probe(torch.zeros(1, 1, 8, 8, device=device)).sum().backward()
    except Exception as error:  # a missing C++ compiler, no triton, an unknown device, ...
        logger.warning(
            "compile: torch.compile does not work here (%s: %s); the training goes on without it",
            type(error).__name__,
            " ".join(str(error).split())[:200],
        )
        return False
    return True
