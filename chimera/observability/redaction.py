"""Keeping credentials out of what people and log stores get to read."""

from __future__ import annotations

import re
from collections.abc import Mapping

from structlog.typing import EventDict, WrappedLogger

HIDDEN = "***"

_URL = re.compile(
    r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*://)"
    r"(?P<credentials>[^\s/'\"<>]*@)?"
    r"(?P<host>\[[0-9a-fA-F:.]+\](?::\d+)?|[^\s/?#@'\"<>,;)\]}]*)"
    r"(?P<rest>[/?#][^\s'\"<>]*)?"
)
_SECRET_KEY = re.compile(r"password|passphrase|secret|api_?key|private_?key|authorization|mnemonic")


def redact(text: str) -> str:
    """
    Reduce every URL in `text` to its scheme and host, with `***` for what was cut.

    Providers of nodes put the API key into the path or the query, Redis and PostgreSQL take a
    password in front of the host. A URL without a host (`sqlite:///chimera.db`) holds no secret
    and stays.
    """
    return _URL.sub(_shortened, text) if "://" in text else text


def redacted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact a log line, a structlog processor: URLs in all values, and values of secret keys."""
    return {name: _value(name, value) for name, value in event.items()}


def _value(name: str, value: object) -> object:
    if _SECRET_KEY.search(name.lower()):
        return HIDDEN
    return _cleaned(value)


def _cleaned(value: object) -> object:
    match value:
        case bool() | int() | float() | None:
            return value
        case bytes():
            return f"0x{value.hex()}"  # addresses, hashes and topics, as everybody writes them
        case Mapping():
            return {str(key): _value(str(key), item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_cleaned(item) for item in value]
        case BaseException():
            return redact(f"{type(value).__name__}: {value}")
        case _:
            return redact(str(value))


def _shortened(url: re.Match[str]) -> str:
    scheme, credentials, host, rest = url.group("scheme", "credentials", "host", "rest")
    if not host:
        return url.group(0)
    before = f"{HIDDEN}@" if credentials else ""
    after = f"/{HIDDEN}" if rest and rest != "/" else ""
    return f"{scheme}{before}{host}{after}"
