"""docs/webhooks.md: each event has its section, and the example verifies what the product signs."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kosminar.core.event import EventName
from kosminar.core.webhook import delivery_headers, secret_text

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("event", EventName)
def test_every_event_has_its_section(event: EventName) -> None:
    assert PAGE.count(f"\n### `{event}`\n") == 1


def test_there_is_no_section_of_an_event_that_is_not() -> None:
    assert sorted(re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)) == sorted(EventName)


def test_the_example_tells_what_is_genuine_from_what_is_not() -> None:
    names: dict[str, object] = {}
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(example, names)  # noqa: S102  # The page is ours.
    receive = names["receive"]
    body = b'{"eventId":"1-501-4","sequence":4}'
    signed = delivery_headers(
        {},
        secrets=[bytes(32)],
        event_id="1-501-4",
        body=body,
        user_agent="Kosminar",
        now=datetime.now(UTC),  # noqa: TID251  # The library compares with the machine's clock.
    )

    assert callable(receive)
    assert receive(secret_text(bytes(32)), signed, body) == (204, {"eventId": "1-501-4", "sequence": 4})
    assert receive(secret_text(bytes(32)), signed, body + b" ") == (401, None)
    assert receive(secret_text(b"\1" * 32), signed, body) == (401, None)
