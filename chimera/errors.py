"""Errors, named by what the daemon does about them."""


class ChimeraError(Exception):
    """Base of every error that Chimera raises on purpose."""


class Retry(ChimeraError):
    """
    The call may work again: back off, keep the state (timeout, 429, lost socket).

    `pause` is for how many seconds the other side has asked to be left alone.
    """

    pause: float = 0.0


class Skip(ChimeraError):
    """This one item is gone or unusable: record why and go on with the others."""


class Rebuild(ChimeraError):
    """
    Our mirror no longer fits the chain: throw it away and read it anew.

    `protocol` names the instance that does not fit, where it is one.
    """

    protocol: str | None = None


class Unfit(Rebuild):
    """
    What is refused at a start happened while running: go on without this protocol.

    Args:
        protocol: Name of the instance.
        reason: What it would have been refused for.
    """

    protocol: str

    def __init__(self, protocol: str, reason: str) -> None:
        super().__init__(f"{protocol}: {reason}")
        self.protocol = protocol
        self.reason = reason


class Halt(ChimeraError):
    """Money is at risk: trip the breaker, send nothing until a person resets it."""


class Refuse(ChimeraError):
    """
    Do not start: the configuration or the node is not what it must be (exit code 2).

    `protocol` names the instance that is refused, where it is one.
    """

    protocol: str | None = None


class Unreachable(ChimeraError):
    """Do not start: a service that is needed does not answer (exit code 3)."""


class RangeTooWide(Retry):
    """The node refuses this many blocks or results at once: ask for fewer."""


class BadCursor(ChimeraError):
    """A paging cursor that this daemon did not give out."""


class StaleCursor(ChimeraError):
    """A paging cursor whose block has left the daemon's memory."""
