"""Tasks that have to end, and the errors that they end with."""

from __future__ import annotations

import asyncio

import structlog
from tenacity import RetryCallState

log = structlog.get_logger()

CANCEL_AGAIN = 1.0  # seconds; a library may lose a cancellation


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task until it is over."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN)


def waiting(state: RetryCallState) -> None:
    """Say why something is tried again."""
    fault = state.outcome.exception() if state.outcome else None
    log.warning("start_delayed", reason=str(fault), attempt=state.attempt_number)


def first_of(faults: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first plain error of a group: the one that took the others down."""
    fault = faults.exceptions[0]
    return first_of(fault) if isinstance(fault, BaseExceptionGroup) else fault
