"""Which buckets lie together: all of them on one PostgreSQL, those of a shard where Citus has distributed the tables.

The Writer makes no batch of two groups, so that each statement of a batch is one task on one node (ADR-0041). What
distributes the tables stands in distribution.sql in this folder. Tests: tests/store/test_distribution.py, with what
stands in for Citus; tests/engine/test_writer_groups.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

from kosminar.core.bucket import BUCKET_COUNT
from kosminar.store.queries import Connection, load

QUERIES: Final = load("distribution")


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of buckets, numbered from 0; `numbers` has that of each bucket at the bucket's place.

    Where Citus is absent, the parts of a save are joined into one statement (store/saving.py).
    """

    numbers: tuple[int, ...]
    joined: bool

    @classmethod
    def of_shards(cls, shards: Mapping[int, int]) -> Self:
        """A group for each shard; the mapping has the shard of every bucket."""
        in_order = {shard: number for number, shard in enumerate(sorted(set(shards.values())))}
        return cls(tuple(in_order[shards[bucket]] for bucket in range(BUCKET_COUNT)), joined=False)

    @property
    def count(self) -> int:
        return max(self.numbers) + 1

    def group_of(self, bucket: int) -> int:
        """Two buckets may be in one batch if their groups are the same."""
        return self.numbers[bucket]


ONE_GROUP: Final = Groups((0,) * BUCKET_COUNT, joined=True)
# Citus is there, and its tables are not distributed yet.
NOT_DISTRIBUTED: Final = replace(ONE_GROUP, joined=False)


async def load_groups(connection: Connection) -> Groups:
    """As the database is now. Tables that are distributed later, or shards that are split, are seen after a restart:
    until then batches are right, and span shards.
    """
    if not await QUERIES["has_citus"].value(connection):
        return ONE_GROUP
    rows = await QUERIES["list_shards"].rows(connection, buckets=list(range(BUCKET_COUNT)))
    return Groups.of_shards({row["bucket"]: row["shard_id"] for row in rows}) if rows else NOT_DISTRIBUTED
