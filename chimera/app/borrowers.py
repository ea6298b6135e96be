"""`chimera borrowers`: who ever borrowed, from the history to a file and back, without a node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from chimera.app.commands import only
from chimera.errors import Refuse
from chimera.settings import Settings
from chimera.settings.models import MORPHO, ProtocolSettings
from chimera.state.rebuild import scan_name
from chimera.store.history import SqlHistory
from chimera.store.roster import Roster, read_rosters, write_rosters

SEARCHES = {"borrowers": False, "suppliers": True}  # in the file, and whether it saw suppliers
USER_BYTES, MARKET_BYTES = 20, 32


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written of one protocol; `searched_to` is None where no search has begun."""

    protocol: str
    users: int
    searched_to: int | None


@dataclass(frozen=True, slots=True)
class Imported:
    """
    What was taken over for one protocol.

    Attributes:
        protocol: The name of the instance.
        users: How many the file has.
        new: How many of them were not known.
        searched_to: Up to which block nobody has to be searched for any more; None: all of it.
        note: Why the file's own search does not count, or None.
    """

    protocol: str
    users: int
    new: int
    searched_to: int | None
    note: str | None


async def export_borrowers(
    settings: Settings, path: Path, *, protocol: str | None = None
) -> list[Exported]:
    """
    Write everybody who is known, of one protocol or of all, to a file.

    A daemon may run meanwhile: each protocol is read in one go.

    Raises:
        Refuse: The file cannot be written, there is no history yet, or it knows nobody.
        Unreachable: The history cannot be opened.
    """
    async with _opened(settings, reads=True) as history:
        rosters = [await _roster(settings, history, its) for its in _chosen(settings, protocol)]
    known = [roster for roster in rosters if roster.holders or roster.scanned_to]
    if not known:
        raise Refuse("the history knows no borrowers yet: let `chimera run` search for them first")
    write_rosters(path, known)
    return [
        Exported(its.protocol, len(its.holders), max(its.scanned_to.values(), default=None))
        for its in known
    ]


async def import_borrowers(
    settings: Settings, path: Path, *, protocol: str | None = None
) -> list[Imported]:
    """
    Take over the users of a file, of one protocol or of all, and how far they were searched for.

    Everything is checked before anything is written, and all of it is written at once. What is
    known already stays.

    Raises:
        Refuse: The file is damaged, or of another chain, protocol or contract; or a daemon runs.
        Unreachable: The history cannot be opened.
    """
    rosters = read_rosters(path)
    if protocol is not None:
        rosters = [roster for roster in rosters if roster.protocol == protocol]
        if not rosters:
            raise Refuse(f"{path} has no borrowers of {protocol!r}")
    entries = {its.name: its for its in settings.protocols}
    for roster in rosters:
        _prove(settings, entries, roster, path)
    async with _opened(settings) as history:
        await history.claim()
        merged = [await _merge(history, entries[its.protocol], its) for its in rosters]
        await history.record(
            users={its.protocol: its.holders for its in rosters},
            scanned_to={scan: last for _, scans in merged for scan, last in scans.items()},
        )
    return [imported for imported, _ in merged]


@asynccontextmanager
async def _opened(settings: Settings, *, reads: bool = False) -> AsyncIterator[SqlHistory]:
    history = SqlHistory(settings.history.url, chain_id=settings.chain.id)
    await history.open(reads=reads)
    try:
        yield history
    finally:
        await history.close()


def _chosen(settings: Settings, protocol: str | None) -> Sequence[ProtocolSettings]:
    return only(settings, protocol).protocols


async def _roster(settings: Settings, history: SqlHistory, its: ProtocolSettings) -> Roster:
    # How far first: whoever is recorded in between belongs to a later block.
    reached = {
        search: await history.scanned_to(_scan(its, suppliers=suppliers))
        for search, suppliers in SEARCHES.items()
    }
    return Roster(
        chain_id=settings.chain.id,
        protocol=its.name,
        kind=its.kind,
        address=its.address,
        from_block=its.from_block,
        markets=its.markets,
        scanned_to={search: last for search, last in reached.items() if last is not None},
        holders=await history.users(its.name),
    )


def _scan(its: ProtocolSettings, *, suppliers: bool) -> str:
    return scan_name(its.name, suppliers=suppliers, markets=its.market_ids)


def _prove(
    settings: Settings, entries: Mapping[str, ProtocolSettings], roster: Roster, path: Path
) -> None:
    name = roster.protocol
    if roster.chain_id != settings.chain.id:
        raise Refuse(
            f"{path} is of chain {roster.chain_id}, the configuration follows {settings.chain.id}:"
            " import it where that chain is followed"
        )
    if name not in entries:
        raise Refuse(
            f"{path} has borrowers of {name!r}, which the configuration does not know (it has"
            f" {', '.join(entries)}): add it, or import one of the others with --protocol"
        )
    its = entries[name]
    if (roster.kind, roster.address) != (its.kind, its.address):
        raise Refuse(
            f"{path} has {name!r} as {roster.kind} at {roster.address}, the configuration as"
            f" {its.kind} at {its.address}: these are not the same accounts"
        )
    size = USER_BYTES + (MARKET_BYTES if its.kind == MORPHO else 0)
    if any(len(holder) != size for holder in roster.holders):
        raise Refuse(f"{path}: {name!r} has an account that is not {size} bytes long: export again")


async def _merge(
    history: SqlHistory, its: ProtocolSettings, roster: Roster
) -> tuple[Imported, dict[str, int]]:
    known, scans, notes = set(await history.users(its.name)), {}, []
    reached: list[int | None] = []
    for search, suppliers in SEARCHES.items():
        scan = _scan(its, suppliers=suppliers)
        ours, theirs = await history.scanned_to(scan), roster.scanned_to.get(search)
        reached.append(ours)
        if theirs is None or (ours is not None and ours >= theirs):
            continue
        gap = _gap(its, roster, ours)
        if gap is None:
            scans[scan] = reached[-1] = theirs
        else:
            notes.append(f"its search for {search} does not count: {gap}")
    imported = Imported(
        protocol=its.name,
        users=len(roster.holders),
        new=len(set(roster.holders) - known),
        searched_to=max((last for last in reached if last is not None), default=None),
        note="; ".join(notes) or None,
    )
    return imported, scans


def _gap(its: ProtocolSettings, roster: Roster, ours: int | None) -> str | None:
    """Say what the file's search has not seen and ours neither; None where it has seen it all."""
    begin = its.from_block if ours is None else ours + 1
    if roster.from_block > begin:
        return f"it began at block {roster.from_block}, ours has to go on from {begin}"
    if roster.markets is not None and not _within(its.markets, roster.markets):
        return "it followed fewer markets than the configuration does"
    return None


def _within(ours: Iterable[str] | None, theirs: Iterable[str]) -> bool:
    lower = {market.lower() for market in theirs}
    return ours is not None and {market.lower() for market in ours} <= lower
