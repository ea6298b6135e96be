"""Ending servers of asyncio whose loop is about to stop, without leaving sockets behind."""

from __future__ import annotations

import asyncio


async def deafen(server: asyncio.Server) -> None:
    """Accept nobody any more; connections that stand go on."""
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    await asyncio.sleep(0)  # asyncio loses the sockets of those it accepts in the same turn
    server.close()


async def finish() -> None:
    """End every other task of this loop, and have the loop close what they have closed."""
    this = {asyncio.current_task()}
    while others := asyncio.all_tasks() - this:
        await asyncio.sleep(0)  # who is cancelled before it began does not close its socket
        for task in others:
            task.cancel()
        await asyncio.wait(others)
    await asyncio.sleep(0)
