"""docs/rules.md keeps its word: each story on the page is played through the API, each fact and reward state is told."""

import re
from pathlib import Path

import pytest
from tests.scenarios.brand import CUSTOMERS, Brand
from tests.scenarios.conftest import Found
from tests.scenarios.story import defined, read, tell

from kosminar.core.fact import FactName
from kosminar.core.reward import RewardState

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
STORIES = [
    pytest.param(story, id=f"{title} {number}")
    for title, section in SECTIONS.items()
    for number, story in enumerate(re.findall(r"^```story\n(.*?)^```$", section, re.MULTILINE | re.DOTALL), start=1)
]


@pytest.mark.asyncio
@pytest.mark.parametrize("story", STORIES)
async def test_the_engine_does_what_the_page_says(found: Found, globex: Brand, story: str) -> None:
    sentence, _, lines = story.partition("\n\n")
    [zone] = re.findall(r", zone (\S+)", sentence) or ["Europe/Berlin"]
    acme = await found("Acme", zone=zone)
    await acme.create(defined(" ".join(sentence.split())))

    await tell(acme, lines)

    assert [await acme.news(who) for who in CUSTOMERS] == [[], []], "the page keeps nothing back"


def test_every_story_of_the_page_is_found() -> None:
    assert len(STORIES) == PAGE.count("```story\n") > 20
    assert all(read(story.values[0].partition("\n\n")[2]) for story in STORIES)


@pytest.mark.parametrize("name", FactName)
def test_every_fact_is_explained_and_happens_in_a_story(name: FactName) -> None:
    assert f"`{name}`" in SECTIONS["How to read the stories"]
    assert any(re.search(rf"(-> |; ){name}\b", story.values[0]) for story in STORIES)


@pytest.mark.parametrize("state", RewardState)
def test_every_state_of_a_reward_is_explained(state: RewardState) -> None:
    assert f"| `{state}` |" in SECTIONS["Rewards"]


def test_the_contents_list_every_section() -> None:
    links = re.findall(r"^- \[(.+)\]\(#(.+)\)$", PAGE, re.MULTILINE)

    assert [title for title, _ in links] == list(SECTIONS)
    assert [anchor for _, anchor in links] == [title.lower().replace(" ", "-") for title in SECTIONS]
