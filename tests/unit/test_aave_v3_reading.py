"""Reading a pool: what is refused at the door, and how answers are understood."""

from __future__ import annotations

import pytest

from chimera.domain.call import Answer, Call
from chimera.domain.market import Account
from chimera.domain.numeric import Bps
from chimera.errors import Refuse
from chimera.protocols.aave_v3 import calls, events, reading
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.market import Mode, placeholder
from tests.fakes_aave_v3 import (
    ALICE,
    BLOCK,
    BOB,
    CONFIGURATOR,
    ORACLE,
    POOL,
    PRICE_SOURCE,
    PRICES,
    PROVIDER,
    RESERVES,
    USDC,
    WETH,
    address,
    drive,
    log,
    market,
    word,
    words,
)

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
INDEX = 10**27


def packed(asset: bytes) -> int:
    reserve = RESERVES[address(int.from_bytes(asset, "big"))]
    terms = reserve.configuration
    word_ = 7500 | terms.threshold << 16 | terms.bonus << 32 | terms.decimals << 48 | 1 << 56
    return word_ | terms.protocol_fee << 152 | terms.mode << 168


def chain() -> dict[Call, Answer]:
    """The pool of the reference vectors, as a node answers it."""
    found: dict[Call, Answer] = {
        calls.plain(PROVIDER, calls.GET_POOL): word(POOL),
        calls.plain(PROVIDER, calls.GET_POOL_CONFIGURATOR): word(CONFIGURATOR),
        calls.plain(PROVIDER, calls.GET_PRICE_ORACLE): word(ORACLE),
        calls.plain(POOL, calls.POOL_REVISION): word(1),
        calls.plain(POOL, calls.GET_RESERVES_LIST): words(32, len(RESERVES), *RESERVES),
        calls.plain(ORACLE, calls.BASE_CURRENCY): word(0),
        calls.plain(ORACLE, calls.BASE_CURRENCY_UNIT): word(10**8),
        calls.of_number(POOL, calls.GET_EMODE_CATEGORY_DATA, 1): words(32, 9000, 9300, 10100, 0),
    }
    for asset, reserve in RESERVES.items():
        tokens = (reserve.supply_token, reserve.stable_debt_token, reserve.debt_token)
        data = (packed(asset), INDEX, 5, INDEX, 6, 0, 1234, reserve.bit, *tokens, 0, 0, 0, 0)
        found |= {
            calls.of_address(POOL, calls.GET_RESERVE_DATA, asset): words(*data),
            calls.plain(reserve.supply_token, calls.ATOKEN_REVISION): word(1),
            calls.plain(reserve.debt_token, calls.DEBT_TOKEN_REVISION): word(1),
            calls.plain(reserve.stable_debt_token, calls.TOTAL_SUPPLY): word(0),
            calls.plain(reserve.debt_token, calls.SCALED_TOTAL_SUPPLY): word(77),
            calls.plain(asset, calls.SYMBOL): reserve.symbol.encode().ljust(32, b"\0"),
            calls.of_address(ORACLE, calls.GET_ASSET_PRICE, asset): word(PRICES[asset] or 0),
        }
    return found


def test_a_pool_is_read_as_it_stands() -> None:
    read = drive(AAVE.read_market(BLOCK), chain())

    assert read.reserves == RESERVES
    assert read.prices == PRICES
    assert read.modes == {1: Mode(Bps(9300), Bps(10100), address(0))}
    assert read.debt_totals == dict.fromkeys(RESERVES, 77)
    assert (read.base_currency, read.base_decimals) == ("USD", 8)
    assert read.rates[WETH].updated == 1234
    assert (read.rates[WETH].liquidity_rate, read.rates[WETH].debt_rate) == (5, 6)


def test_the_supported_pool_is_proved_and_a_dead_price_is_no_obstacle() -> None:
    dead = {**chain(), calls.of_address(ORACLE, calls.GET_ASSET_PRICE, WETH): None}

    drive(AAVE.prove(), chain())

    assert drive(AAVE.read_market(BLOCK), dead).prices[WETH] is None


@pytest.mark.parametrize(
    ("probe", "version"),
    [
        (calls.of_address(POOL, calls.GET_VIRTUAL_UNDERLYING_BALANCE, WETH), "3.1"),
        (calls.of_address(POOL, calls.GET_RESERVE_DEFICIT, WETH), "3.3"),
        (calls.plain(POOL, calls.RESERVE_INTEREST_RATE_STRATEGY), "3.4 or 3.5"),
        (calls.of_number(POOL, calls.GET_EMODE_CATEGORY_LTVZERO_BITMAP, 1), "3.6"),
        (calls.of_number(POOL, calls.GET_IS_EMODE_CATEGORY_ISOLATED, 1), "3.7"),
    ],
)
def test_a_later_revision_is_refused_by_its_name(probe: Call, version: str) -> None:
    later = {**chain(), probe: word(0)}

    with pytest.raises(Refuse, match=f"is Aave v{version} .*supported is v3.0"):
        drive(AAVE.prove(), later)
    with pytest.raises(Refuse, match=f"is Aave v{version} "):
        drive(AAVE.read_market(BLOCK), later)


@pytest.mark.parametrize("answer", [None, b""])
def test_an_address_that_is_no_provider_is_refused(answer: Answer) -> None:
    with pytest.raises(Refuse, match="no Aave v3 PoolAddressesProvider"):
        drive(AAVE.prove(), {}, answer)


def test_a_provider_of_something_that_is_no_pool_is_refused() -> None:
    mute = {call: answer for call, answer in chain().items() if call.to != POOL}

    with pytest.raises(Refuse, match=f"0x{POOL.hex()} does not answer 0xd1946dbc"):
        drive(AAVE.prove(), mute)


def test_stable_debt_and_tokens_of_the_later_era_are_refused() -> None:
    stable = calls.plain(RESERVES[USDC].stable_debt_token, calls.TOTAL_SUPPLY)
    revision = calls.plain(RESERVES[WETH].debt_token, calls.DEBT_TOKEN_REVISION)

    with pytest.raises(Refuse, match="USDC has stable debt"):
        drive(AAVE.prove(), {**chain(), stable: word(5)})
    with pytest.raises(Refuse, match="tokens of WETH have revisions 1 and 4"):
        drive(AAVE.prove(), {**chain(), revision: word(4)})


def test_emodes_are_read_on_for_as_long_as_they_are_defined() -> None:
    defined = words(32, 1, 2, 3, PRICE_SOURCE)
    answers: dict[Call, Answer] = {
        calls.of_number(POOL, calls.GET_EMODE_CATEGORY_DATA, number): defined
        for number in (1, 2, 3, 4, 5, 200)
    }

    found = drive(reading.all_modes(POOL, [0, 200]), answers)

    assert sorted(found) == [1, 2, 3, 4, 5, 200]
    assert found[5] == Mode(Bps(2), Bps(3), PRICE_SOURCE)


def test_a_base_currency_that_is_a_token_goes_by_its_symbol() -> None:
    answers: dict[Call, Answer] = {
        calls.plain(ORACLE, calls.BASE_CURRENCY): word(WETH),
        calls.plain(ORACLE, calls.BASE_CURRENCY_UNIT): word(10**18),
        calls.plain(WETH, calls.SYMBOL): words(32, 4) + b"WETH".ljust(32, b"\0"),
    }

    assert drive(reading.base_of(ORACLE), answers) == ("WETH", 18)


@pytest.mark.parametrize("answer", [None, b"", b"\xff" * 32, bytes(32)])
def test_a_token_without_a_readable_symbol_goes_by_its_address(answer: Answer) -> None:
    assert calls.symbol(answer, address(0x0A << 152)) == "0x0a000000"


def test_accounts_are_read_with_every_balance_and_bits_without_a_reserve() -> None:
    weth, usdc = RESERVES[WETH], RESERVES[USDC]
    bits = 1 << 2 * usdc.bit + 1 | 1 << 2 * 9 + 1
    answers: dict[Call, Answer] = {
        calls.of_address(weth.supply_token, calls.SCALED_BALANCE_OF, ALICE): word(5),
        calls.of_address(usdc.debt_token, calls.SCALED_BALANCE_OF, ALICE): word(6),
        calls.of_address(POOL, calls.GET_USER_CONFIGURATION, ALICE): word(bits),
        calls.of_address(POOL, calls.GET_USER_EMODE, ALICE): word(1),
    }

    found = drive(AAVE.read_accounts(market(), [ALICE, BOB], BLOCK), answers, word(0))

    enabled = frozenset({USDC, placeholder(9)})
    assert found == {ALICE: Account({WETH: 5}, {USDC: 6}, enabled, 1, BLOCK.number)}


def test_discovery_names_who_got_debt_and_on_demand_who_got_supply() -> None:
    borrowers = AAVE.discovery(market(), suppliers=False)
    holders = AAVE.discovery(market(), suppliers=True)
    minted = log(RESERVES[WETH].debt_token, events.MINT, BOB, ALICE, data=[1, 0, INDEX])
    sent = log(RESERVES[WETH].supply_token, events.BALANCE_TRANSFER, ALICE, BOB, data=[1, INDEX])

    assert borrowers.wants(minted)
    assert not borrowers.wants(sent)
    assert holders.wants(sent)
    assert AAVE.users_in([minted, sent], suppliers=False) == {ALICE}
    assert AAVE.users_in([minted, sent], suppliers=True) == {ALICE, BOB}
