"""A standing that is kept as rows between commands, and loaded as a batch loads it, lives as one that stays in memory.

What a command touches and what still has something to decide is loaded, nothing else; so a period that was lost when it
left its standing, or one that was not loaded though it matters, shows as another outcome than the slow model's.
"""

import json
from random import Random

import pytest
from tests.model import slow_model as model
from tests.model.engine_replay import Replay
from tests.model.histories import random_history

from kosminar.core.standing import Standing
from kosminar.store.rows import EndedKey, EndedRow, StandingRow, only_value_moved, rows_of, standing_of

BLOCK = 50


class KeptReplay(Replay):
    """Each command finds what was saved before it, and its own standing is saved."""

    row: StandingRow | None = None
    ended: dict[EndedKey, EndedRow]
    moved_count = 0

    def apply(self, command) -> None:
        self.live(command.at, lambda: Replay.apply(self, command), touched=self.touched(command))

    def settle(self, at) -> None:
        self.live(at, lambda: Replay.settle(self, at))

    def touched(self, command) -> set[int]:
        if not isinstance(command, model.Act):
            return set()
        period = self.active.window.period_at(command.occurred_at, None)
        return set() if period is None else {period.number}

    def live(self, at, act, touched=frozenset()) -> None:
        loaded = self.load(touched)
        self.standing = loaded
        act()
        if self.standing is not loaded:
            self.save(loaded, at, {key for key in self.ended if self.is_loaded(key, touched)})

    def load(self, touched) -> Standing:
        self.ended = getattr(self, "ended", {})
        return standing_of(
            self.active, self.row, [row for key, row in self.ended.items() if self.is_loaded(key, touched)]
        )

    def is_loaded(self, key: EndedKey, touched) -> bool:
        return key.period_number in touched or self.ended[key].awaits_end

    def save(self, loaded: Standing, at, apart) -> None:
        if self.row is not None and only_value_moved(loaded, self.standing):
            self.row = self.row._replace(value_thousandths=self.standing.targets[0].progress[-1].value)
            self.moved_count += 1
            return
        self.row, ended = rows_of(self.programme(at), self.standing, at, apart)
        json.loads(self.row.document)
        self.ended |= {EndedKey(row.target_id, row.period_number, row.run): row for row in ended}

    def outcome(self, now) -> model.Outcome:
        self.settle(now)
        self.standing = standing_of(self.active, self.row, self.ended.values())
        self.row, ended = rows_of(self.programme(now), self.standing, now, set(self.ended))
        written = {EndedKey(row.target_id, row.period_number, row.run): row for row in ended}
        assert {key: written[key] for key in self.ended} == self.ended
        self.live = lambda at, act, touched=frozenset(): act()
        return super().outcome(now)


@pytest.mark.parametrize("first_seed", range(0, 600, BLOCK))
def test_a_standing_of_rows_agrees_with_the_slow_model(first_seed: int) -> None:
    moved_count = ended_count = 0
    for seed in range(first_seed, first_seed + BLOCK):
        programme, commands, now = random_history(Random(seed))
        replay = KeptReplay(programme)
        for command in commands:
            replay.apply(command)
        actual = replay.outcome(now)
        expected = model.replay(programme, commands, now=now)
        message = f"seed {seed}"
        assert actual.answers == expected.answers, message
        assert dict(actual.rewards) == dict(expected.rewards), message
        assert actual.reached == set(expected.reached), message
        assert (actual.count, actual.enrolled) == (expected.count, expected.enrolled), message
        for key in actual.progress.keys() | expected.progress.keys():
            assert actual.progress.get(key, (0, False)) == expected.progress.get(key, (0, False)), f"{message}, {key}"
        moved_count += replay.moved_count
        ended_count += len(replay.ended)

    assert moved_count > 0
    assert ended_count > 0
