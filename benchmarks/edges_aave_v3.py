"""Borrowers of Aave v3 at the edge of 1, by the arithmetic of each of its versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from benchmarks.edges import Family, Scene
from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.market import Account
from chimera.domain.numeric import BPS, RAY, Bps, Ray
from chimera.errors import Skip
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import ENGINES, Engine
from chimera.protocols.aave_v3.market import AaveMarket, Configuration, Mode, Reserve, vacant
from chimera.protocols.aave_v3.math import Rates, percent_mul
from chimera.protocols.aave_v3.valuation import AccountData, account_data

NOW = 1_800_000_000
RESERVES, EACH = 8, 100
MODES = (1, 2, 3)
DECIMALS = (0, 2, 6, 6, 8, 18, 18, 18, 24)
THRESHOLDS = (0, 1, 5_000, 7_800, 8_250, 9_300, 9_999, 10_000)
STEPS = (0, 0, 0, 1, 1, 2, 7, 10**3)  # from the most that may be owed, in token units
ELAPSED = (0, 1, 2, 12, 3_600, 30 * 86_400, 3 * 365 * 86_400)
DEAD, BOUNDLESS = 0.04, 0.02  # of all prices in pools that are not calm
HUGE = 2**200


def address(kind: int, number: int) -> Address:
    """Return a made-up address."""
    return Address(kind.to_bytes(4, "big") + number.to_bytes(16, "big"))


PROVIDER, POOL, CONFIGURATOR, ORACLE = (address(9, number) for number in range(4))
ASSETS = tuple(address(1, number) for number in range(RESERVES))
SOURCES = tuple(address(5, number) for number in MODES)
# Bits that users may have set as well. The screen has no cell for them: whose account is well
# otherwise, but has no figure because the price behind such a bit fails, it passes over. Nor does
# it see what such a bit takes from an average at a threshold of 0, which pools give no eMode.
GONE, EMPTY_BIT, HEIR = address(8, 1), vacant(100), ASSETS[3]
AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)


@dataclass(frozen=True, slots=True)
class Version:
    """Makes up pools of one version, and their borrowers."""

    engine: Engine

    def scenes(self, random: Random) -> Iterator[Scene]:
        """Yield pools with their borrowers, without end."""
        while True:
            market = _made_up(self.engine, random)
            time = NOW + random.choice(ELAPSED)
            people = (address(7, number) for number in range(EACH))
            borrowers = {user: _at_the_edge(market, time, random) for user in people}
            yield Scene(AAVE, market, time, borrowers)


VERSIONS: dict[str, Family] = {
    f"aave_v3 {version}": Version(engine) for version, engine in ENGINES.items()
}


def _made_up(engine: Engine, random: Random) -> AaveMarket:
    calm = random.random() < 0.4  # then no price fails
    return AaveMarket(
        engine=engine,
        provider=PROVIDER,
        pool=POOL,
        configurator=CONFIGURATOR,
        oracle=ORACLE,
        base_currency="USD",
        base_decimals=8,
        reserves={asset: _reserve(asset, bit, random) for bit, asset in enumerate(ASSETS)},
        rates={asset: _rates(random) for asset in ASSETS},
        debt_totals=dict.fromkeys(ASSETS, 0),
        modes={number: _mode(number, random) for number in MODES},
        prices={source: _price(random, calm=calm) for source in (*ASSETS, *SOURCES)},
        dropped={GONE: 3},
        heirs={GONE: HEIR},
    )


def _reserve(asset: Address, bit: int, random: Random) -> Reserve:
    configuration = Configuration(
        threshold=Bps(random.choice((*THRESHOLDS, random.randint(1, BPS)))),
        bonus=Bps(10_500),
        decimals=random.choice(DECIMALS),
        is_active=True,
        is_paused=False,
        protocol_fee=Bps(1_000),
        mode=random.choice((0, 0, *MODES)),
    )
    tokens = (address(2, bit), address(3, bit), address(4, bit))
    return Reserve(asset, f"A{bit}", bit, *tokens, configuration)


def _rates(random: Random) -> Rates:
    income, debt = (RAY + random.choice((0, 1, random.randrange(3 * RAY))) for _ in range(2))
    growth = random.choice((0, random.randrange(RAY)))
    return Rates(
        Ray(income), Ray(debt), Ray(growth // 2), Ray(growth), NOW - random.choice(ELAPSED)
    )


def _mode(number: int, random: Random) -> Mode:
    return Mode(
        threshold=Bps(random.choice((0, 9_300, 9_500, random.randint(1, BPS)))),
        bonus=Bps(10_100),
        price_source=random.choice((ZERO_ADDRESS, SOURCES[number - 1])),
        collateral=random.getrandbits(RESERVES),
    )


def _price(random: Random, *, calm: bool) -> int | None:
    lot = 1.0 if calm else random.random()
    if lot < DEAD:
        return None
    if lot < DEAD + BOUNDLESS:
        return random.choice((0, HUGE))
    return random.choice((1, 10**4, 10**8, 10**8, 10**12)) * random.randint(1, 9_999)


def _at_the_edge(market: AaveMarket, time: int, random: Random) -> Account:
    """Return an account that owes all that it may, give or take a few units."""
    held = random.sample(ASSETS, random.choice((1, 1, 2, 2, 3, 4)))
    size = random.choice((10**-6, 10**-3, 1, 10**4, 10**9)) * random.uniform(0.5, 1.5)
    supplied = {asset: _amount(market, asset, size, random) for asset in held}
    enabled = set(random.sample(held, random.randint(1, len(held))))
    mode = random.choice((0, 0, 0, *MODES, 9))
    if not mode and random.random() < 0.2 and (market.prices[HEIR] or HUGE) < HUGE:
        enabled.add(random.choice((GONE, EMPTY_BIT)))
    account = Account(supplied, {}, frozenset(enabled), mode)
    limit = _limit(market, account, time)
    owed = {}
    borrowed = random.sample(ASSETS, random.choice((1, 1, 2, 3)))
    for left, asset in zip(range(len(borrowed) - 1, -1, -1), borrowed, strict=True):
        part = limit if left == 0 else random.randrange(limit + 1)
        limit -= part
        owed[asset] = _scaled_debt(market, asset, part, time, random)
    return account.but(owed=owed)


def _amount(market: AaveMarket, asset: Address, size: float, random: Random) -> int:
    """Return a supply worth about `size` whole units of the base currency, or simply huge."""
    if random.random() < 0.002:
        return random.choice((2**127, 2**128 - 1))
    price, unit = market.prices[asset] or 1, market.reserves[asset].unit
    return 1 + int(size * 10**8) * unit // price + random.randrange(3)


def _limit(market: AaveMarket, account: Account, time: int) -> int:
    """Return the value that the account may owe, 0 where nobody can tell."""
    try:
        data: AccountData = account_data(market, account, time)
    except Skip:
        return 0
    if market.engine.averages_threshold:
        return percent_mul(data.collateral, data.threshold)
    return data.weighted // BPS


def _scaled_debt(market: AaveMarket, asset: Address, value: int, time: int, random: Random) -> int:
    """Return a scaled debt of about this value, less or more by a few units."""
    price, index = market.prices[asset] or 1, market.indexes(time)[asset].debt
    amount = value * market.reserves[asset].unit // price
    return max(1, amount * RAY // index + random.choice((-1, 1)) * random.choice(STEPS))
