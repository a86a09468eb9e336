"""Seeds that depend on the run, the stage and the purpose."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["StageSeeds"]


class StageSeeds:
    """Seeds and generators of one stage.

    Args:
        seed: Seed of the run.
        stage: Key of the stage, empty outside of one.
        rank: Global rank of this process.

    Example:
        >>> StageSeeds(0, "0-train").seed_for("order") == StageSeeds(0, "0-train").seed_for("order")
        True
        >>> StageSeeds(0, "0-train").seed_for("order") == StageSeeds(1, "0-train").seed_for("order")
        False
    """

    def __init__(self, seed: int, stage: str, rank: int = 0):
        self._seed = seed
        self._stage = stage
        self._rank = rank

    def seed_for(self, *purpose: str) -> int:
        """Return a seed in [0, 2**48) that depends on the run's seed, the stage and the purpose."""
        text = "/".join((str(self._seed), self._stage, *purpose))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")

    def generator(self, *purpose: str) -> torch.Generator:
        """Return a new CPU generator for a purpose; each process gets a different one."""
        return torch.Generator().manual_seed(self.seed_for(str(self._rank), *purpose))
