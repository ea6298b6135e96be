"""One block of logs, in order, into changes of accounts and a new market."""

from __future__ import annotations

from collections.abc import Iterator

from chimera.domain.block import BlockBatch
from chimera.domain.call import answer
from chimera.domain.changes import AccountRead, Change, MarketMoved
from chimera.ports import Accounts
from chimera.protocols.compound_v2.comptroller import COMPTROLLER
from chimera.protocols.compound_v2.draft import Draft, Tables
from chimera.protocols.compound_v2.lacking import extras
from chimera.protocols.compound_v2.market import CompoundMarket
from chimera.protocols.compound_v2.mtokens import MODEL, MTOKEN


def fold(market: CompoundMarket, accounts: Accounts, batch: BlockBatch) -> Iterator[Change]:
    """Turn one block into changes, strictly in the order of its logs; the market comes last."""
    found = answer(extras(market, accounts, batch.block, batch.logs), batch.readings)
    draft = Draft(market, accounts, batch, found, TABLES)
    for user, account in found.accounts.items():
        yield AccountRead(user, account)
    for log in batch.logs:
        handlers = draft.handlers.get(log.address)
        handler = handlers.get(log.topics[0]) if handlers else None
        if handler is not None:
            yield from handler(draft, log)
    yield MarketMoved(draft.finished(market))


TABLES = Tables(comptroller=COMPTROLLER, mtoken=MTOKEN, model=MODEL)
TOPICS = frozenset().union(COMPTROLLER, MTOKEN, MODEL)
