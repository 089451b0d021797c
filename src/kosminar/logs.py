"""Logs: one JSON object a line on standard error, whoever writes it, and never a local variable of ours.

Answers and progress bars have standard output and the terminal to themselves.
"""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure_logs(level: str) -> None:
    """Call once, at start; `level` is a settings one."""
    about: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Without the local variables, which may hold a password.
    traceback = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    lowest = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*about, traceback, _without_rows, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard module; their lines leave in the same shape.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                traceback,
                _without_rows,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=about,
        )
    )
    logging.basicConfig(handlers=[handler], level=max(lowest, logging.WARNING), force=True)


def _without_rows(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """PostgreSQL's details quote the row at fault: customers' data, and an endpoint's headers."""
    for raised in event.get("exception", ()):
        raised["exc_value"] = raised["exc_value"].partition("\nDETAIL:")[0]
    return event
