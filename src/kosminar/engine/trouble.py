"""How what runs all day logs its trouble: a database that is away once, and once more when it is back.

A loop that tries again each second would write a trace each second as long as the database is away. Anything else is a
fault of ours, and is logged each time with its trace.
"""

from typing import Final

import asyncpg
import structlog

from kosminar.store.connections import is_away

LOG: Final = structlog.get_logger()


class Trouble:
    """Of one loop; `waits_event` and `goes_on_event` are the two lines about the database."""

    def __init__(self, waits_event: str, goes_on_event: str) -> None:
        self._waits_event = waits_event
        self._goes_on_event = goes_on_event
        self._database_away = False

    def log(self, event: str, error: Exception, **fields: object) -> None:
        """Something failed. What the Writer could not save says in its cause why."""
        if not is_away(error) and not (error.__cause__ is not None and is_away(error.__cause__)):
            LOG.error(event, exc_info=error, **fields)
        elif not self._database_away:
            self._database_away = True
            LOG.warning(self._waits_event, error=in_words(error))

    def log_end(self) -> None:
        """A round went well."""
        if self._database_away:
            self._database_away = False
            LOG.info(self._goes_on_event)


def in_words(error: BaseException) -> str:
    """What to say of an error on a command line: sentences, with what the database said behind what that meant to us."""
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return (
            f"The database is read-only ({error}). What was saved before stays; run the command again when it is not."
        )
    text = str(error) or "the database did not answer in time"
    if error.__cause__ is not None and is_away(error.__cause__):
        return f"{text[0].upper()}{text[1:]}: {in_words(error.__cause__)}"
    return text if text.endswith((".", "!", "?")) else f"{text[0].upper()}{text[1:]}."
