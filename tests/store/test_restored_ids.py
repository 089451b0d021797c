"""What a receiver sees of a brand that was restored: an event id and a reward id never name two things, and what is the
same reward has the same id.

One story with real back-ups: the brand is backed up; then comes an instant; then it creates a programme that pays a
reward, and pays one of a programme that was there before. Two copies are restored up to the instant from the one
back-up. In each the brand creates another programme that pays, and sends again what the copy has lost. The receiver is
the same for all three. The story takes some ten seconds, because every part of it is real.
"""

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.store.copies import CarefulReceiver, Credentials, generations_of, open_shop, settle_in
from tests.store.running import ask

from kosminar.store.backup import restore_backup, take_backup
from kosminar.store.embedded import open_embedded
from kosminar.store.embedded_host import server_user, temporary_data_directory
from kosminar.wiring import utc_now


@dataclass
class Story:
    """What happened; groups are the answers of their creation, by name."""

    receiver: CarefulReceiver
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    rewards: dict[str, list[str]] = field(default_factory=dict)
    """Of customer 501 in each database."""
    waited: list[dict[str, Any]] = field(default_factory=list)
    """The bodies that waited in the back-up."""
    came_later: dict[str, bytes] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    generations: dict[str, list[int]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    folders = {name: temporary_data_directory() for name in ("origin", "archive", "place", "first", "second")}
    for name in ("archive", "place"):
        server_user(folders[name]).own(folders[name])
    try:
        yield asyncio.run(lived(folders))
    finally:
        for folder in folders.values():
            shutil.rmtree(folder)


async def lived(folders: dict[str, Path]) -> Story:
    async with CarefulReceiver() as receiver:
        story = Story(receiver)
        credentials, until = await live_origin(story, folders)
        for name, programme in (("first", "After the restore"), ("second", "After the second restore")):
            # In the main thread, which looks after signals; nothing else happens on the loop meanwhile.
            await asyncio.to_thread(restore, folders, name, until)
            await live_copy(story, folders[name], credentials, name, programme)
    return story


async def live_origin(story: Story, folders: dict[str, Path]) -> tuple[Credentials, datetime]:
    receiver = story.receiver
    with open_embedded(folders["origin"], archive_directory=folders["archive"]) as database:
        credentials = await Credentials.made(database.url)
        async with open_shop(database.url, credentials) as shop:
            await settle_in(shop, receiver)
            await shop.create("Always")
            receiver.refuses = {503}
            await shop.visit("Always", 503, "waits")
            await shop.deliver()
            story.waited = [one.body for one in receiver.received]
            await asyncio.to_thread(take_backup, database, folders["place"] / "backup", wall=utc_now)
            await shop.visit("Always", 501, "before")
            until = utc_now()
            await shop.create("Lost")
            await shop.visit("Lost", 501, "lost")
            await shop.visit("Always", 502, "again")
            await shop.deliver()
            story.groups |= shop.made
            story.rewards["origin"] = await shop.rewards(501)
        await asyncio.to_thread(ask, database.url, "SELECT pg_switch_wal()")
        story.generations["origin"] = await generations_of(database.url)
    receiver.refuses = set()
    return credentials, until


def restore(folders: dict[str, Path], name: str, until: datetime) -> None:
    backup = folders["place"] / "backup"
    restore_backup(backup, folders[name], archive_directory=folders["archive"], until=until, wall=utc_now)


async def live_copy(story: Story, directory: Path, credentials: Credentials, name: str, programme: str) -> None:
    with open_embedded(directory) as database:
        story.generations[f"{name}, unopened"] = await generations_of(database.url)
        async with open_shop(database.url, credentials, wall=an_hour_later) as shop:
            before = set(story.receiver.events)
            await shop.deliver()
            if name == "first":
                came = story.receiver.events.keys() - before
                story.came_later = {event_id: story.receiver.events[event_id].content for event_id in came}
            await shop.create(programme)
            await shop.visit(programme, 501, f"of {name}")
            await shop.visit("Always", 502, "again")
            await shop.deliver()
            story.groups |= shop.made
            story.rewards[name] = await shop.rewards(501)
            story.differences += await shop.differences()
        story.generations[name] = await generations_of(database.url)


def an_hour_later() -> datetime:
    """By when what was refused is tried again, however fast a back-up is restored."""
    return utc_now() + timedelta(hours=1)


def ids_of(group: dict[str, Any]) -> set[tuple[str, int]]:
    """Every id that the creation of a group gave."""
    found = {("group", group["id"])}
    found |= {("target", target["id"]) for target in group["targets"]}
    found |= {("reward", reward["id"]) for target in group["targets"] for reward in target["rewards"]}
    found |= {("value", value["id"]) for target in group["targets"] for value in target["defaultValues"]}
    return found | {("period", period["id"]) for period in group["periods"]}


# ---------------------------------------------------------------- no id names another thing


def test_an_event_id_never_names_two_things_however_often_the_brand_is_restored(story: Story) -> None:
    assert story.receiver.two_things_of_one_id == []


def test_each_earned_reward_is_paid_once_by_a_receiver_that_drops_repeats(story: Story) -> None:
    """Three of Always (501, 502 and 503), and one of each of the others."""
    paid = sorted(story.receiver.paid.values())

    assert paid == ["After the restore", "After the second restore", "Always", "Always", "Always", "Lost"]


def test_the_ids_of_what_a_copy_creates_are_new(story: Story) -> None:
    lost, first, second = (
        ids_of(story.groups[name]) for name in ("Lost", "After the restore", "After the second restore")
    )

    assert lost & first == lost & second == first & second == set()


def test_every_restore_begins_a_generation_of_its_own_and_opening_the_copy_begins_none(story: Story) -> None:
    assert story.generations["first, unopened"] == story.generations["first"]
    assert story.generations["second, unopened"] == story.generations["second"]
    (origin,), (also_origin, first), (once_more_origin, second) = (
        story.generations[name] for name in ("origin", "first", "second")
    )

    assert origin == also_origin == once_more_origin == 0
    assert 0 < first < second < 2**53


def test_ids_stay_whole_numbers_of_javascript_and_a_group_leaves_room_for_its_periods(story: Story) -> None:
    given = {
        kind: max(number for group in story.groups.values() for k, number in ids_of(group) if k == kind)
        for kind in ("group", "target", "period", "reward", "value")
    }

    assert given["group"] < 2**41
    assert max(given.values()) < 2**53


# ---------------------------------------------------------------- what is the same keeps its id


def test_the_same_reward_that_is_earned_again_keeps_its_id_and_is_told_of_by_another_event(story: Story) -> None:
    sent = [
        one.body
        for one in story.receiver.received
        if one.body["eventName"] == "rewardIssued" and one.body["data"]["customerIdentifiers"]["customerId"] == 502
    ]

    assert len(sent) == 3
    assert len({body["data"]["reward"]["rewardId"] for body in sent}) == 1
    assert len({body["eventId"] for body in sent}) == 3


def test_what_the_copy_held_before_the_instant_keeps_its_reward_ids(story: Story) -> None:
    before = story.rewards["origin"][0]

    assert before in story.rewards["first"]
    assert before in story.rewards["second"]


def test_what_waited_goes_out_under_its_old_event_id_byte_for_byte(story: Story) -> None:
    waited = {body["eventId"] for body in story.waited if body["data"]["customerIdentifiers"]["customerId"] == 503}
    refused = {one.body["eventId"]: one.content for one in story.receiver.received if one.body["eventId"] in waited}

    assert len(waited) == 1, "the first of them is refused, and the next ones wait behind it"
    assert refused.items() <= story.came_later.items()
    assert {event_id.rsplit("-", 1)[0] for event_id in story.came_later} >= {f"{story.waited[0]['orgId']}-503"}


def test_event_ids_tell_the_generation_in_which_each_was_written(story: Story) -> None:
    generations = {generation for name in story.generations for generation in story.generations[name]}
    forms = {}
    for received in story.receiver.received:
        body = received.body
        customer_id = body["data"]["customerIdentifiers"]["customerId"]
        for one in generations:
            written = f"{one}-" if one else ""
            forms[f"{body['orgId']}-{customer_id}-{written}{body['sequence']}"] = one
        assert received.headers["webhook-id"] == body["eventId"]

    assert {forms[event_id] for event_id in story.receiver.events} == generations


def test_the_audit_accepts_what_was_restored_and_went_on(story: Story) -> None:
    assert story.differences == []
