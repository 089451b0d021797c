"""The core and the slow model, which share no code, must agree on every random history."""

import os
from random import Random

import pytest
from tests.model import slow_model as model
from tests.model.engine_replay import Replay
from tests.model.histories import random_history

SEED_COUNT = int(os.environ.get("SEEDS", "1500"))
BLOCK = 100


@pytest.mark.parametrize("first_seed", range(0, SEED_COUNT, BLOCK))
def test_core_agrees_with_the_slow_model(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + BLOCK):
        check(seed, settle_often=False)
        check(seed, settle_often=True)


def check(seed: int, *, settle_often: bool) -> None:
    """A closer that runs before every command must make no difference to one that never came (decision 8)."""
    programme, commands, now = random_history(Random(seed))
    replay = Replay(programme)
    for command in commands:
        if settle_often:
            replay.settle(command.at)
        replay.apply(command)
    actual = replay.outcome(now)
    expected = model.replay(programme, commands, now=now)
    message = f"replay with seed {seed}"
    assert actual.answers == expected.answers, message
    assert dict(actual.rewards) == dict(expected.rewards), message
    assert actual.reached == set(expected.reached), message
    assert actual.count == expected.count, message
    assert actual.enrolled == expected.enrolled, message
    nothing = (0, False)
    for key in actual.progress.keys() | expected.progress.keys():
        assert actual.progress.get(key, nothing) == expected.progress.get(key, nothing), f"{message}, progress {key}"
