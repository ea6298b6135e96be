"""How a command ends: exit codes, and one line on stderr that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType

import structlog
import typer

from chimera.errors import ChimeraError, Refuse, Retry, Unreachable
from chimera.observability.redaction import redact

FAULT = 1  # it ran and found a fault
REFUSED = 2  # bad usage or configuration, the wrong chain or contract
UNREACHABLE = 3  # a needed service does not answer

Errors = BaseExceptionGroup[BaseException]


@contextmanager
def ending() -> Generator[None, None, None]:
    """Turn what a command raises on purpose into its line and exit code."""
    try:
        yield
    except ChimeraError as error:
        raise _ended(error) from error
    except BaseExceptionGroup as group:
        first = _first(group)
        if first is None:
            raise
        raise _ended(first) from group
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(FAULT) from None


def complain(sentence: str) -> None:
    """Write one unwrapped line to stderr, without secrets."""
    typer.echo(redact(" ".join(sentence.split())), err=True)


def last_resort(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Report an error that nobody foresaw (a `sys.excepthook`): one line, details for debugging."""
    log = structlog.get_logger()
    log.debug("command_crashed", exc_info=(kind, error, trace))
    complain(
        f"{kind.__name__}: {error} - this is a fault of Chimera; "
        "CHIMERA_LOG__LEVEL=debug shows where it happened"
    )


def install_last_resort() -> None:
    """Keep tracebacks from operators."""
    sys.excepthook = last_resort


def _ended(error: ChimeraError) -> typer.Exit:
    complain(str(error) or type(error).__name__)
    if isinstance(error, Refuse):
        return typer.Exit(REFUSED)
    return typer.Exit(UNREACHABLE if isinstance(error, Unreachable | Retry) else FAULT)


def _first(group: Errors) -> ChimeraError | None:
    for error in group.exceptions:
        if isinstance(error, ChimeraError):
            return error
        if isinstance(error, BaseExceptionGroup) and (found := _first(error)) is not None:
            return found
    return None
