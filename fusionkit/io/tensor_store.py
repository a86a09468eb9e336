"""Many tensors of one shape by number: in memory, or in a temporary file if they are too large."""

from __future__ import annotations

import mmap
import os
import tempfile

import torch
from torch import Tensor

from fusionkit.errors import FusionkitError

__all__ = ["IN_MEMORY", "TensorStore"]

IN_MEMORY = 4 << 30
"""Bytes that a store keeps in memory, 4 GiB; a larger one is a file that is mapped into memory."""


class TensorStore:
    """Keeps tensors of one shape and type, which may arrive in any order.

    The file of a large store lies in the folder for temporary files (``TMPDIR``). It has no name,
    so that nothing of it is left when the process ends in any way, and the system keeps as much of
    it in memory as there is room for.

    Copies of this process (fork) share the tensors from the first one on: what they put lies here,
    and they must say so, because ``in`` does not know it.

    Args:
        count: Number of tensors.
        in_memory: Bytes up to which the store is in memory.

    Example:
        >>> store = TensorStore(count=3)
        >>> store.put(1, torch.ones(2, 2))
        >>> 0 in store, 1 in store, store.get(1).sum().item()
        (False, True, 4.0)
    """

    def __init__(self, count: int, in_memory: int = IN_MEMORY):
        self._count, self._in_memory = count, in_memory
        self._filled = torch.zeros(count, dtype=torch.bool)
        self._tensors: Tensor | None = None

    def __len__(self) -> int:
        return self._count

    def __contains__(self, index: int) -> bool:
        return bool(self._filled[index])

    def get(self, index: int) -> Tensor:
        """Return a tensor that was put; it must not be changed.

        Raises:
            KeyError: if there is none of that number.
        """
        if self._tensors is None or index not in self:
            raise KeyError(index)
        return self._tensors[index]

    def put(self, index: int, tensor: Tensor) -> None:
        """Keep a copy of a CPU tensor.

        Raises:
            ValueError: if it has another shape than the first one.
            FusionkitError: if there is no room for all of them on the disk.
        """
        if self._tensors is None:
            self._tensors = self._reserve(tensor)
        if tensor.shape != self._tensors.shape[1:]:
            expected = tuple(self._tensors.shape[1:])
            raise ValueError(f"expected a tensor of shape {expected}, found {tuple(tensor.shape)}")
        self._tensors[index] = tensor
        self._filled[index] = True

    def note(self, index: int) -> None:
        """Note that a copy of this process has put a tensor."""
        self._filled[index] = True

    def _reserve(self, first: Tensor) -> Tensor:
        shape = (self._count, *first.shape)
        bytes_each = first.element_size()
        size = self._count * first.numel() * bytes_each
        if size <= self._in_memory:
            # Shared with later copies of this process, unlike other memory.
            shared = mmap.mmap(-1, max(size, 1))
            return torch.frombuffer(shared, dtype=first.dtype, count=size // bytes_each).view(shape)
        with tempfile.NamedTemporaryFile(prefix="fusionkit-") as file:
            try:
                if hasattr(os, "posix_fallocate"):  # Linux
                    # Without it, writing to the mapping of a full disk would kill the process.
                    os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise FusionkitError(
                    f"{tempfile.gettempdir()}: {size / 1e9:.1f} GB of images are to be kept there: "
                    f"{error.strerror}; free some space, or set TMPDIR to another folder"
                ) from error
            storage = torch.from_file(
                file.name, shared=True, size=self._count * first.numel(), dtype=first.dtype
            )
        return storage.view(shape)
