"""Eight seeds of the simulation; `make simulate` lives twenty, and more with SEEDS or SEED."""

import os
from collections.abc import Iterator

import pytest
from tests.simulation.life import live
from tests.simulation.machine import Machine
from tests.simulation.many import seeds_of

SEEDS = seeds_of(os.environ.get("SEED"), os.environ.get("SEEDS", "8"))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_what_survives_a_life_under_fire_is_what_the_model_says(machine: Machine, seed: int) -> None:
    report = live(machine, seed)

    assert not report.trouble, f"{report.trouble}\nreplay it with: make simulate SEED={seed}"
