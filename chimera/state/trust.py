"""What comparing with the chain has found wrong, until it is mended and compared clean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from chimera.domain.health import Verdict
from chimera.domain.market import Holder, Key
from chimera.state.book import UNDO_WINDOW

WINDOW = 600.0  # seconds within which two divergences condemn a market
TOO_MANY: Final = 2  # divergences in one market
MOST_WRONG: Final = 1000  # accounts of one market of which it is remembered that they differed
MOST_READ: Final = 10  # accounts that one block reads anew; if there are many, a rebuild is due
UNVERIFIED = Verdict(liquidatable=False, reason="unverified")


class Trust:
    """
    Which accounts are to be read anew, and which markets nobody should act on.

    An account that differed is mistrusted until a block has read it anew, then it waits to be
    compared again. A published market with two divergences within the window is in quarantine
    until it has been rebuilt and compared clean, or, where no rebuild is due any more, until
    everybody who differed was compared clean.

    Args:
        window: Seconds within which two divergences condemn a market.

    Attributes:
        mismatches: Accounts that differed so far, by protocol instance.
        generation: How often the book has been loaded; what was taken from it before is void.
    """

    def __init__(self, *, window: float = WINDOW) -> None:
        self.mismatches: Counter[str] = Counter()
        self.generation = 0
        self._window = window
        self._mistrusted: dict[str, set[Holder]] = {}
        self._read: dict[Key, int] = {}  # mended accounts: the block that read them anew
        self._unsettled: dict[Key, None] = {}  # those of them that nobody has compared since
        self._divergences: dict[str, list[float]] = {}  # by published market: when
        self._quarantined: dict[str, None] = {}
        self._wrong: dict[str, dict[Key, None]] = {}  # by published market: who differed last

    @property
    def settled(self) -> bool:
        """Tell whether nothing in the book is known to be wrong."""
        return not self._quarantined and not any(self._mistrusted.values())

    # --- accounts --------------------------------------------------------------------------------

    @property
    def unsettled(self) -> tuple[Key, ...]:
        """Accounts that were read anew and wait to be compared."""
        return tuple(self._unsettled)

    def mistrusts(self, key: Key) -> bool:
        """Tell whether the account is known to be wrong, and not read anew yet."""
        return key[1] in self._mistrusted.get(key[0], ())

    def to_read(self, protocol: str) -> list[Holder]:
        """Return whose accounts the next block has to read; the others follow in the next ones."""
        return sorted(self._mistrusted.get(protocol, ()))[:MOST_READ]

    def read_anew(self, keys: Iterable[Key], block_number: int) -> None:
        """Note that this block has read these accounts."""
        for old in [k for k, number in self._read.items() if number <= block_number - UNDO_WINDOW]:
            del self._read[old]
        for key in keys:
            self._mistrusted[key[0]].discard(key[1])
            self._unsettled[key] = None
            self._read[key] = block_number

    def rolled_back(self, block_number: int) -> None:
        """Mistrust again what blocks above this one had mended."""
        for key, number in list(self._read.items()):
            if number > block_number:
                self._mistrust(key)

    def adopted(self, protocols: AbstractSet[str]) -> None:
        """
        Note that the book was loaded: no block of before can be undone or compared any more.

        Every account of `protocols` has been read.
        """
        self.generation += 1
        self._read.clear()
        for protocol in protocols:
            self._mistrusted.pop(protocol, None)
        self._unsettled = {key: None for key in self._unsettled if key[0] not in protocols}

    def agreed(self, key: Key) -> bool:
        """Note that the account was compared clean; tell whether that ends a divergence."""
        mended = key in self._unsettled
        self._unsettled.pop(key, None)
        return mended

    # --- markets ---------------------------------------------------------------------------------

    @property
    def quarantined(self) -> AbstractSet[str]:
        """Published markets in quarantine, oldest first, a live view."""
        return self._quarantined.keys()

    def diverged(self, key: Key, market: str, *, now: float, excused: bool = False) -> bool:
        """
        Note that an account differs from the contract's view; tell whether its market falls by it.

        It will be read anew, once: if that does not help, the market itself is wrong, and only a
        rebuild can.

        Args:
            key: The account.
            market: Its protocol as published.
            now: Seconds of a monotonic clock.
            excused: The family allows it for some blocks (`exact_within`); reading helps then.
        """
        self.mismatches[key[0]] += 1
        wrong = self._wrong.setdefault(market, {})
        if len(wrong) < MOST_WRONG:
            wrong[key] = None
        in_vain = key in self._unsettled
        self._unsettled.pop(key, None)
        if not in_vain:
            self._mistrust(key)
            if excused:
                return False
        self._forget_before(now - self._window)
        self._divergences[market] = [*self._divergences.get(market, ()), now][-TOO_MANY:]
        if len(self._divergences[market]) < TOO_MANY or market in self._quarantined:
            return False
        self._quarantined[market] = None
        return True

    @property
    def suspected(self) -> frozenset[str]:
        """Published markets of which anything is remembered: anybody can make more of them."""
        return frozenset(self._divergences.keys() | self._wrong.keys() | self._quarantined.keys())

    def lift(self, market: str) -> None:
        """End the quarantine of a market that was compared clean."""
        self._quarantined.pop(market, None)
        self._divergences.pop(market, None)
        self._wrong.pop(market, None)

    def wrong(self, market: str) -> tuple[Key, ...]:
        """Return the accounts of a published market that differed, and were not clean since."""
        return tuple(self._wrong.get(market, ()))

    def clean(self, key: Key, market: str) -> None:
        """Note that an account agrees, or is not there any more."""
        wrong = self._wrong.get(market)
        if wrong is not None:
            wrong.pop(key, None)
            if not wrong:
                del self._wrong[market]

    def _forget_before(self, oldest: float) -> None:
        kept = {
            market: [then for then in times if then > oldest]
            for market, times in self._divergences.items()
        }
        self._divergences = {market: times for market, times in kept.items() if times}

    def _mistrust(self, key: Key) -> None:
        self._mistrusted.setdefault(key[0], set()).add(key[1])
        self._unsettled.pop(key, None)
        self._read.pop(key, None)
