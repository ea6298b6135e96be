"""Reading a pool: what is refused at the door, and how answers are understood."""

from __future__ import annotations

from typing import TypeVar

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain import abi
from chimera.domain.block import Address
from chimera.domain.call import Answer, Call, Grid, Inquiry, Words
from chimera.domain.market import Account
from chimera.domain.numeric import Bps
from chimera.errors import Refuse
from chimera.protocols.aave_v3 import calls, events, reading
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.engine import (
    ENGINES,
    V3_0,
    V3_1,
    V3_2,
    V3_3,
    V3_4,
    V3_5,
    V3_6,
    V3_7,
    Engine,
)
from chimera.protocols.aave_v3.market import Mode, vacant
from tests.fakes_aave_v3 import (
    ALICE,
    BLOCK,
    BOB,
    ORACLE,
    POOL,
    PRICE_SOURCE,
    PRICES,
    PROVIDER,
    RESERVES,
    USDC,
    WETH,
    ZERO,
    Accounts,
    address,
    chain,
    drive,
    log,
    market,
    word,
    words,
)

AAVE = AaveV3(name="aave", address=PROVIDER, from_block=0)
INDEX = 10**27
T = TypeVar("T")


def test_a_pool_is_read_as_it_stands() -> None:
    read = drive(AAVE.read_market(BLOCK), chain(V3_0))

    assert read.reserves == RESERVES
    assert read.prices == PRICES
    assert read.modes == {1: Mode(Bps(9300), Bps(10100))}
    assert read.debt_totals == dict.fromkeys(RESERVES, 77)
    assert (read.base_currency, read.base_decimals) == ("USD", 8)
    assert read.rates[WETH].updated == 1234
    assert (read.rates[WETH].liquidity_rate, read.rates[WETH].debt_rate) == (5, 6)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_every_version_is_known_by_what_pool_and_tokens_can_do(engine: Engine) -> None:
    drive(AAVE.prove(), chain(engine))

    assert drive(AAVE.read_market(BLOCK), chain(engine)).engine is engine


@pytest.mark.parametrize("engine", [V3_2, V3_5], ids=["3.2", "3.5"])
def test_emodes_have_bitmaps_and_reserves_name_none_since_v3_2(engine: Engine) -> None:
    read = drive(AAVE.read_market(BLOCK), chain(engine))

    assert read.modes == {1: Mode(Bps(9300), Bps(10100), ZERO, 0b1001, 0b0011)}
    assert {reserve.configuration.mode for reserve in read.reserves.values()} == {0}
    assert {reserve.stable_debt_token for reserve in read.reserves.values()} == {ZERO}
    assert {reserve.grace_until for reserve in read.reserves.values()} == {99}


def test_a_third_bitmap_is_read_since_v3_6() -> None:
    assert drive(AAVE.read_market(BLOCK), chain(V3_7)).modes[1].ltvzero == 0b1000


@pytest.mark.parametrize(("answer", "allowed"), [(word(1), True), (word(0), False), (None, False)])
def test_a_sentinel_is_asked_where_there_is_one(answer: Answer, *, allowed: bool) -> None:
    sentinel = address(0x5E)
    named = abi.plain(PROVIDER, calls.GET_PRICE_ORACLE_SENTINEL)
    asked = abi.plain(sentinel, calls.IS_LIQUIDATION_ALLOWED)
    guarded = {named: word(sentinel), asked: answer}

    before = drive(AAVE.read_market(BLOCK), {**chain(V3_6), **guarded})
    after = drive(AAVE.read_market(BLOCK), {**chain(V3_7), **guarded})

    assert (before.sentinel, before.liquidations_allowed) == (sentinel, allowed)
    assert AAVE.polls(before, Accounts(), BLOCK)[-1] == asked
    assert after.liquidations_allowed
    assert asked not in AAVE.polls(after, Accounts(), BLOCK)


def test_a_dead_price_is_no_obstacle() -> None:
    dead = {**chain(V3_0), abi.of_address(ORACLE, calls.GET_ASSET_PRICE, WETH): None}

    assert drive(AAVE.read_market(BLOCK), dead).prices[WETH] is None


def test_a_pool_that_is_newer_than_all_that_is_supported_is_refused() -> None:
    newer = {**chain(V3_7), abi.plain(POOL, calls.POOL_REVISION): word(12)}
    forked = {**chain(V3_0), abi.plain(POOL, calls.POOL_REVISION): word(12)}

    for inquiry in (AAVE.prove(), AAVE.read_market(BLOCK)):
        with pytest.raises(Refuse, match=r"POOL_REVISION 12: it is newer than Aave v3\.7"):
            drive(inquiry, newer)
    assert drive(AAVE.read_market(BLOCK), forked).engine is V3_0  # a fork numbers as it likes


@pytest.mark.parametrize(
    ("engine", "revision", "message"),
    [
        (V3_0, 4, r"revision 1 and its vToken 4.*does not fit the pool .*Aave v3\.0"),
        (V3_4, 4, r"revision 3 and its vToken 4.*does not fit the pool .*Aave v3\.4"),
        (V3_5, 3, r"revision 4 and its vToken 3.*does not fit the pool .*Aave v3\.4"),
        (V3_6, 0, r"revision 5 and its vToken 0.*does not fit the pool .*Aave v3\.6"),
        (V3_7, 7, r"revision 5 and its vToken 7: newer than 6"),
    ],
)
def test_tokens_that_do_not_round_as_their_pool_does_are_refused(
    engine: Engine, revision: int, message: str
) -> None:
    odd = abi.plain(RESERVES[WETH].debt_token, calls.DEBT_TOKEN_REVISION)

    with pytest.raises(Refuse, match=message):
        drive(AAVE.prove(), {**chain(engine), odd: word(revision)})


def test_a_pool_without_reserves_that_could_be_two_versions_is_refused() -> None:
    empty = {abi.plain(POOL, calls.GET_RESERVES_LIST): words(32, 0)}

    assert drive(AAVE.read_market(BLOCK), {**chain(V3_6), **empty}).reserves == {}
    with pytest.raises(Refuse, match=r"Aave v3\.4 or 3\.5; it lists nothing to tell by"):
        drive(AAVE.prove(), {**chain(V3_4), **empty})


@pytest.mark.parametrize(("engine", "refused"), [(V3_3, True), (V3_4, False)])
def test_debt_with_a_discount_is_refused(engine: Engine, *, refused: bool) -> None:
    """GHO up to v3.3, the one reserve without virtual accounting."""
    asked = abi.of_address(POOL, calls.GET_RESERVE_DATA, USDC)
    answers = chain(engine)
    data = answers[asked] or b""
    answers[asked] = bytes([data[0] & 0xEF]) + data[1:]

    if refused:
        with pytest.raises(Refuse, match="debts in USDC have a discount"):
            drive(AAVE.prove(), answers)
    else:
        drive(AAVE.prove(), answers)


@pytest.mark.parametrize("answer", [None, b""])
def test_an_address_that_is_no_provider_is_refused(answer: Answer) -> None:
    written = "0xe20fCBdBfFC4Dd138cE8b2E6FBb6CB49777ad64D"  # as it stands in a configuration
    wrong = AaveV3(name="aave", address=Address(bytes.fromhex(written[2:])), from_block=0)

    with pytest.raises(Refuse, match=f"^{written} is no Aave v3 PoolAddressesProvider"):
        drive(wrong.prove(), {}, answer)


def test_a_provider_of_something_that_is_no_pool_is_refused() -> None:
    mute = {call: answer for call, answer in chain(V3_0).items() if call.to != POOL}

    with pytest.raises(Refuse, match=f"^{to_checksum_address(POOL)} does not answer 0xd1946dbc"):
        drive(AAVE.prove(), mute)


@pytest.mark.parametrize("engine", [V3_0, V3_1], ids=["3.0", "3.1"])
def test_stable_debt_is_refused(engine: Engine) -> None:
    stable = abi.plain(RESERVES[USDC].stable_debt_token, calls.TOTAL_SUPPLY)

    with pytest.raises(Refuse, match="USDC has stable debt"):
        drive(AAVE.prove(), {**chain(engine), stable: word(5)})


def test_emodes_are_read_on_for_as_long_as_they_are_defined() -> None:
    defined = words(32, 1, 2, 3, PRICE_SOURCE)
    answers: dict[Call, Answer] = {
        abi.of_number(POOL, calls.GET_EMODE_CATEGORY_DATA, number): defined
        for number in (1, 2, 3, 4, 5, 200)
    }

    found = drive(reading.all_modes(POOL, V3_0, [0, 200]), answers)

    assert sorted(found) == [1, 2, 3, 4, 5, 200]
    assert found[5] == Mode(Bps(2), Bps(3), PRICE_SOURCE)


def test_a_base_currency_that_is_a_token_goes_by_its_symbol() -> None:
    answers: dict[Call, Answer] = {
        abi.plain(ORACLE, calls.BASE_CURRENCY): word(WETH),
        abi.plain(ORACLE, calls.BASE_CURRENCY_UNIT): word(10**18),
        abi.plain(WETH, calls.SYMBOL): words(32, 4) + b"WETH".ljust(32, b"\0"),
    }

    assert drive(reading.base_of(ORACLE), answers) == ("WETH", 18)


@pytest.mark.parametrize("answer", [None, b"", b"\xff" * 32, bytes(32)])
def test_a_token_without_a_readable_symbol_goes_by_its_address(answer: Answer) -> None:
    assert abi.symbol(answer, address(0x0A << 152)) == "0x0a000000"


def test_accounts_are_read_with_every_balance_and_bits_without_a_reserve() -> None:
    weth, usdc = RESERVES[WETH], RESERVES[USDC]
    bits = 1 << 2 * usdc.bit + 1 | 1 << 2 * 9 + 1
    answers: dict[Call, Answer] = {
        abi.of_address(weth.supply_token, calls.SCALED_BALANCE_OF, ALICE): word(5),
        abi.of_address(usdc.debt_token, calls.SCALED_BALANCE_OF, ALICE): word(6),
        abi.of_address(POOL, calls.GET_USER_CONFIGURATION, ALICE): word(bits),
        abi.of_address(POOL, calls.GET_USER_EMODE, ALICE): word(1),
    }

    found = drive(AAVE.read_accounts(market(), [ALICE, BOB], BLOCK), answers, word(0))

    enabled = frozenset({USDC, vacant(9)})
    assert found == {ALICE: Account({WETH: 5}, {USDC: 6}, enabled, 1, BLOCK.number)}


USERS = [address(0x100 + number) for number in range(4)]
balances = st.fixed_dictionaries(
    dict.fromkeys(RESERVES, st.just(0) | st.integers(1, 2**256 - 1) | st.sampled_from([1, 2**64]))
)
holdings = st.tuples(
    balances, balances, st.just(0) | st.integers(0, 2**256 - 1), st.integers(0, 255)
)


def answers_of(
    held: tuple[dict[Address, int], dict[Address, int], int, int], user: Address
) -> dict[Call, Answer]:
    """Return what the contracts say of a user: supplies, debts, bitmap, eMode."""
    supplied, owed, bitmap, mode = held
    tokens = {
        **{RESERVES[asset].supply_token: amount for asset, amount in supplied.items()},
        **{RESERVES[asset].debt_token: amount for asset, amount in owed.items()},
    }
    return {
        abi.of_address(POOL, calls.GET_USER_CONFIGURATION, user): word(bitmap),
        abi.of_address(POOL, calls.GET_USER_EMODE, user): word(mode),
        **{
            abi.of_address(token, calls.SCALED_BALANCE_OF, user): word(amount)
            for token, amount in tokens.items()
        },
    }


def in_words(inquiry: Inquiry[T]) -> Inquiry[T]:
    """Answer the grid of an inquiry as a reader does that reads it in one piece."""
    try:
        grid = next(inquiry)
        answers = yield grid
        assert isinstance(grid, Grid)
        inquiry.send(Words(grid, b"".join(answers[call] or b"" for call in grid)))
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it asks once")


@given(st.lists(holdings, max_size=4), st.permutations(list(RESERVES)), st.booleans())
def test_accounts_are_what_the_answers_say_whichever_way_they_come(
    held: list[tuple[dict[Address, int], dict[Address, int], int, int]],
    order: list[Address],
    as_words: bool,  # noqa: FBT001
) -> None:
    users = USERS[: len(held)]
    reserves = {asset: RESERVES[asset] for asset in order}
    answers: dict[Call, Answer] = {}
    for user, its in zip(users, held, strict=True):
        answers |= answers_of(its, user)
    inquiry = AAVE.read_accounts(market(reserves=reserves), users, BLOCK)

    found = drive(in_words(inquiry) if as_words else inquiry, answers)

    by_bit = {reserve.bit: asset for asset, reserve in RESERVES.items()}
    expected = {
        user: Account(
            supplied,
            owed,
            frozenset(by_bit.get(n, vacant(n)) for n in range(128) if bitmap >> 2 * n + 1 & 1),
            mode,
            BLOCK.number,
        )
        for user, (supplied, owed, bitmap, mode) in zip(users, held, strict=True)
    }
    expected = {user: account for user, account in expected.items() if not account.is_blank}
    assert found == expected
    assert [repr(account) for account in found.values()] == list(map(repr, expected.values()))
    assert all(found[user].shape is expected[user].shape for user in found)


@pytest.mark.parametrize("place", range(10))
@pytest.mark.parametrize("answer", [None, b"", bytes(31)])
def test_a_user_about_whom_a_contract_says_nothing_is_no_account(
    place: int, answer: Answer
) -> None:
    answers = answers_of((dict.fromkeys(RESERVES, 1), dict.fromkeys(RESERVES, 2), 0, 0), ALICE)
    mute = list(answers)[place]

    with pytest.raises(Refuse, match=f"^{to_checksum_address(mute.to)} does not answer"):
        drive(AAVE.read_accounts(market(), [ALICE], BLOCK), {**answers, mute: answer})


def test_what_follows_the_first_word_of_an_answer_does_not_count() -> None:
    answers = answers_of((dict.fromkeys(RESERVES, 1), dict.fromkeys(RESERVES, 2), 3, 4), ALICE)
    longer = {call: (answer or b"") + word(5) for call, answer in answers.items()}

    read, more = (
        drive(AAVE.read_accounts(market(), [ALICE], BLOCK), given) for given in (answers, longer)
    )

    assert read == more


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
    chosen = log(POOL, events.USER_EMODE_SET, BOB, data=[1])  # before anything is held
    assert holders.wants(chosen)
    assert AAVE.users_in([chosen], suppliers=True) == {BOB}
    assert not borrowers.wants(chosen)


def test_words_of_another_grid_are_not_taken_by_their_places() -> None:
    asked, other = (
        Grid([Call(POOL, calls.GET_USER_EMODE)], [user.rjust(32, b"\0") for user in users])
        for users in (USERS[:2], USERS[1::-1])
    )
    assert calls.first_words(asked, Words(other, word(2) + word(1))) == word(1) + word(2)
