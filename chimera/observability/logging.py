"""One stream of log lines: JSON for machines, pretty for people at a terminal."""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from chimera.observability.redaction import redacted

LEVELS = ("debug", "info", "warning", "error", "critical")

# They narrate every request and connection. What goes wrong there reaches our own lines as well.
NARRATORS = (
    "aiohttp",
    "aiosqlite",
    "alembic",
    "asyncio",
    "redis",
    "sqlalchemy",
    "urllib3",
    "uvicorn",
    "web3",
    "websockets",
)


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """
    Send every log line of the process to `stream`, our own and those of the libraries.

    Lines are JSON objects (`timestamp`, `level`, `event` and key-values) unless the stream is a
    terminal. Libraries that narrate are only heard from `warning` on. May be called again.

    Args:
        level: The least severe level that is written, one of `LEVELS`.
        stream: Where to write; standard error without one.

    Raises:
        ValueError: There is no such level.
    """
    if level not in LEVELS:
        raise ValueError(f"log level is {level!r}, expected one of {', '.join(LEVELS)}")
    out = sys.stderr if stream is None else stream
    threshold = logging.getLevelNamesMapping()[level.upper()]
    before, last = _shared(), _renderer(pretty=out.isatty())
    structlog.configure(
        processors=[*before, redacted, last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    _take_over_stdlib(out, threshold, before, last)


def about_block(*, chain: str | int, block: int) -> AbstractContextManager[None]:
    """Let every line within, also from tasks started there, carry `chain` and `block`."""
    return structlog.contextvars.bound_contextvars(chain=chain, block=block)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that configuring again finds and replaces it."""


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]


def _renderer(*, pretty: bool) -> Processor:
    if not pretty:
        return structlog.processors.JSONRenderer(default=str)
    # Plain tracebacks: the rich ones print local variables, and those may hold keys.
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _take_over_stdlib(
    out: TextIO, threshold: int, before: list[Processor], last: Processor
) -> None:
    handler = _Handler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_named, *before],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redacted, last],
        )
    )
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _Handler)]
    root.addHandler(handler)
    root.setLevel(threshold)
    for name in NARRATORS:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(capture=True)


def _named(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    event["logger"] = record.name
    return event
