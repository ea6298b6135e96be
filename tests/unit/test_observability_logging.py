from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from chimera.observability.logging import about_block, configure
from chimera.observability.redaction import redact
from tests.fakes_cli import logging_as_before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    with logging_as_before():
        yield


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_lines_are_json_when_nobody_is_at_a_terminal() -> None:
    out = io.StringIO()
    configure("info", out)

    structlog.get_logger().info("block_processed", logs=3)

    [line] = lines(out)
    assert line["event"] == "block_processed"
    assert line["logs"] == 3
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_lines_are_for_people_at_a_terminal() -> None:
    out = Terminal()
    configure("info", out)

    structlog.get_logger().info("block_processed", logs=3)

    assert "block_processed" in out.getvalue()
    assert not out.getvalue().startswith("{")


async def test_every_line_of_a_blocks_work_carries_block_and_chain() -> None:
    out = io.StringIO()
    configure("info", out)

    async def work() -> None:
        structlog.get_logger().info("inside")
        logging.getLogger("some.library").warning("also inside")

    with about_block(chain="base", block=7):
        await asyncio.create_task(work())
    structlog.get_logger().info("outside")

    inside, library, outside = lines(out)
    assert (inside["chain"], inside["block"]) == ("base", 7)
    assert (library["chain"], library["block"]) == ("base", 7)
    assert "block" not in outside


def test_libraries_speak_in_the_same_format_and_only_from_warning_on() -> None:
    out = io.StringIO()
    configure("info", out)

    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("alembic.runtime").warning("odd revision")

    [line] = lines(out)
    assert line["logger"] == "alembic.runtime"
    assert line["event"] == "odd revision"


def test_warnings_become_lines() -> None:
    out = io.StringIO()
    configure("info", out)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("something is old", UserWarning, stacklevel=1)

    [line] = lines(out)
    assert "something is old" in line["event"]


def test_configuring_again_does_not_double_the_lines() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", first)
    configure("info", second)

    logging.getLogger("some.library").warning("once")

    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_less_severe_lines_are_left_out() -> None:
    out = io.StringIO()
    configure("warning", out)

    structlog.get_logger().info("quiet")
    structlog.get_logger().error("loud")

    assert [line["event"] for line in lines(out)] == ["loud"]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of debug, info"):
        configure("chatty")


def fail() -> None:
    raise ValueError("no answer from https://[::1]:8545/KEY")


def test_secrets_do_not_reach_the_log_by_any_way() -> None:
    out = io.StringIO()
    configure("info", out)
    log = structlog.get_logger()

    log.info("a", url="wss://host.example/v2/KEY")
    log.info("b", nested={"urls": ["redis://:KEY@host.example:6379/0"]}, api_key="KEY")
    log.info("c KEYLESS http://host.example/KEY", error=ValueError("http://host.example?k=KEY"))
    try:
        fail()
    except ValueError:
        log.exception("d")
        logging.getLogger("some.library").exception("at http://host.example/KEY")

    assert "KEY" not in out.getvalue().replace("KEYLESS", "")
    assert len(lines(out)) == 5


def test_bytes_are_written_as_hex() -> None:
    out = io.StringIO()
    configure("info", out)

    structlog.get_logger().info("seen", user=bytes.fromhex("c0ffee"), amount=2**100)

    [line] = lines(out)
    assert line["user"] == "0xc0ffee"
    assert line["amount"] == 2**100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wss://host/v2/key", "wss://host/***"),
        ("https://host?apikey=key", "https://host/***"),
        ("http://user:key@host:1/", "http://***@host:1"),
        ("postgresql+asyncpg://u:key@db/chimera", "postgresql+asyncpg://***@db/***"),
        ("cannot reach ws://[::1]:8545/key: timeout", "cannot reach ws://[::1]:8545/*** timeout"),
        ("two: http://a/key http://b/key", "two: http://a/*** http://b/***"),
        ("sqlite+aiosqlite:///chimera.db", "sqlite+aiosqlite:///chimera.db"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("no address at all", "no address at all"),
    ],
)
def test_an_address_is_reduced_to_scheme_and_host(text: str, expected: str) -> None:
    assert redact(text) == expected
