"""The server with groups of 50 targets, which cannot be defined yet, for benchmarks/breadth.py: `python -m benchmarks.many_targets`.

Rules, standings and rows know groups of several targets; what a brand defines has one. So each group's target is there 50
times once the definition has been read, with ids of their own.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from kosminar import cli
from kosminar.core.programme import Programme, Target
from kosminar.store import definitions

TARGET_COUNT = 50
# Beyond the ids of the one programme that there is.
IDS_BETWEEN = 1_000


def of_many_targets(programme_of: Any, *arguments: Any, **names: Any) -> Programme:
    programme: Programme = programme_of(*arguments, **names)
    (target,) = programme.targets
    return replace(programme, targets=tuple(_like(target, IDS_BETWEEN * number) for number in range(TARGET_COUNT)))


def _like(target: Target, further: int) -> Target:
    rewards = (replace(one, reward_definition_id=one.reward_definition_id + further) for one in target.rewards)
    return replace(target, target_id=target.target_id + further, rewards=tuple(rewards))


if __name__ == "__main__":
    definitions.programme_of = partial(of_many_targets, definitions.programme_of)
    cli.main()
