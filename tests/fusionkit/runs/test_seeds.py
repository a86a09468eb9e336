"""Seeds depend on the run, the stage, the purpose and the process, and on nothing else."""

from __future__ import annotations

import torch

from fusionkit.runs.seeds import StageSeeds


def test_a_seed_depends_on_run_stage_and_purpose():
    seeds = {
        StageSeeds(0, "0-a").seed_for("x"),
        StageSeeds(1, "0-a").seed_for("x"),
        StageSeeds(0, "1-b").seed_for("x"),
        StageSeeds(0, "0-a").seed_for("y"),
        StageSeeds(0, "0-a").seed_for("x", "y"),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**48 for seed in seeds)


def test_processes_draw_differently_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first = torch.rand(4, generator=StageSeeds(0, "0-a", rank=0).generator("noise"))
    again = torch.rand(4, generator=StageSeeds(0, "0-a", rank=0).generator("noise"))
    other = torch.rand(4, generator=StageSeeds(0, "0-a", rank=1).generator("noise"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())
