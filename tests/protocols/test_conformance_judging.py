"""What every family says of a state: health, verdicts, prices, the screen and the proof."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from chimera.domain.block import Address
from chimera.domain.call import Answer
from chimera.domain.health import VERDICT, CollateralLeg, DebtLeg
from chimera.domain.market import EMPTY, Account, Holder
from chimera.domain.numeric import WAD
from chimera.pricing.explanation import explanation
from chimera.registry import BUILT_IN
from chimera.settings.loading import KINDS
from chimera.state.screen import Screen
from devnet.recording import address
from tests.protocols.conformance import BUILT, EVERY, Step, Tape, family_of

STRANGER = address("0x" + "fe" * 20)
WORD = 32
TURNS = re.compile(r"[0-9.]+ \S.* \([+-][0-9.]+ %\), under 1 (?:above|below) it")
CLEARLY_HEALTHY = 101 * WAD // 100

# Words of the contracts' views that have no figure of ours beside them, by family, and why.
NOT_COMPARED: dict[str, dict[tuple[str, int], str]] = {
    "aave_v3": {
        ("bf92857c", 2): "what can still be borrowed follows from the LTV",
        ("bf92857c", 4): "the LTV limits loans, not health",
    },
    "compound_v3": {
        ("dc4abafd", 1): "the tracking index is about rewards",
        ("dc4abafd", 2): "what has accrued is about rewards, too",
        ("2b92a07d", 1): "nothing is stored there",
    },
}


def accounts_of(step: Step) -> Iterator[tuple[Holder, Account]]:
    return iter(step.after.accounts.items())


# --- names ---------------------------------------------------------------------------------------


@EVERY
def test_a_family_declares_what_it_is(tape: Tape) -> None:
    adapter, last = tape.adapter, tape.steps[-1].after

    assert adapter.kind == tape.family
    assert adapter.name == tape.family  # as the replay calls its instance
    assert adapter.address == address(tape.replay.recording.config["address"])
    assert isinstance(adapter.needs_suppliers, bool)
    assert adapter.exact_within(tape.replay.book.accounts(adapter.name)) >= 0
    assert adapter.relative_band >= 0
    assert adapter.absolute_band >= 0
    assert {len(topic) for topic in adapter.topics} == {WORD}
    for query in (
        adapter.interest(last.market),
        adapter.discovery(last.market, suppliers=False),
        adapter.discovery(last.market, suppliers=True),
    ):
        assert query.topics
        assert {len(one) for one in query.addresses} == {20}
    assert adapter.interest(last.market).topics <= adapter.topics


@EVERY
def test_a_published_name_leads_back_to_its_account(tape: Tape) -> None:
    holders = {holder for step in tape.steps for holder in step.after.accounts}
    published = {tape.adapter.published(holder) for holder in holders}

    assert len(published) == len(holders) > 40
    for holder in holders:
        protocol, user = tape.adapter.published(holder)
        assert tape.adapter.holder(protocol, user) == holder
        assert len(user) == 20
        assert protocol.partition(".")[0] == tape.adapter.name
        assert tape.adapter.holder(f"{protocol}x", user) is None
    assert tape.adapter.holder("another", STRANGER) is None


# --- figures -------------------------------------------------------------------------------------


@EVERY
def test_a_verdict_has_either_a_pair_or_a_reason(tape: Tape) -> None:
    reasons = set()
    for step in tape.steps:
        for _, account in accounts_of(step):
            verdict = tape.adapter.verdict(step.after.market, account, step.block.timestamp)
            reasons.add(verdict.reason)
            assert verdict.liquidatable == (verdict.best is not None) == (verdict.reason is None)

    assert None in reasons
    assert len(reasons) >= 3
    assert all(reason is None or reason.isprintable() for reason in reasons)


@EVERY
def test_the_legs_of_a_valuation_are_the_assets_and_its_health_is_the_health(tape: Tape) -> None:
    for step in tape.full:
        market, time = step.after.market, step.block.timestamp
        for _, account in accounts_of(step):
            valued = tape.adapter.value(market, account, time)
            assert valued.health == tape.adapter.health(market, account, time)
            every: list[CollateralLeg | DebtLeg] = [*valued.collateral, *valued.debt]
            legs = {leg.asset for leg in every}
            assert legs == tape.adapter.assets(market, account)
            assert {len(asset) for asset in legs} <= {20}
            assert all(leg.amount >= 0 <= leg.value for leg in every)


@EVERY
def test_an_explanation_ends_with_the_verdict(tape: Tape) -> None:
    step = tape.full[-1]
    for account in (EMPTY, *step.after.accounts.values()):
        steps = tape.adapter.explain(step.after.market, account, step.block.timestamp)
        verdict = tape.adapter.verdict(step.after.market, account, step.block.timestamp)
        told = "liquidatable" if verdict.reason is None else f"not liquidatable: {verdict.reason}"
        assert steps[-1].name == VERDICT
        assert steps[-1].value.startswith(told)
        assert len(steps) > 1
        assert all(one.name.isprintable() and one.value.isprintable() for one in steps)


# --- prices --------------------------------------------------------------------------------------


@EVERY
def test_a_price_put_in_its_own_place_changes_nothing_and_another_one_does(tape: Tape) -> None:
    moved = 0
    for step in tape.full[::3]:
        market, adapter, time = step.after.market, tape.adapter, step.block.timestamp
        for asset, price in adapter.quotes(market).items():
            if price is None:
                continue
            assert adapter.priced(market, asset, price) == market
            other = adapter.priced(market, asset, 2 * price + 1)
            assert adapter.quotes(other)[asset] == 2 * price + 1
            moved += sum(
                adapter.health(other, account, time) != adapter.health(market, account, time)
                for _, account in accounts_of(step)
            )

    assert moved > 20


@EVERY
def test_every_price_can_be_written_and_those_of_an_account_are_the_ones_that_move_it(
    tape: Tape,
) -> None:
    for step in tape.full[::3]:
        market, adapter, time = step.after.market, tape.adapter, step.block.timestamp
        quotes, written = adapter.quotes(market), adapter.quoted(market)
        assert written.keys() == quotes.keys()
        for asset, its in written.items():
            assert its.name.isprintable() > (not its.name)
            assert its.currency.isprintable() > (not its.currency)
            whole = (quotes[asset] or 0) // 10**its.decimals
            assert whole < 10**9  # a token that costs a billion is one with a lost unit
        for _, account in accounts_of(step):
            its_own = adapter.quoted(market, account)
            assert its_own.keys() <= written.keys()
            health = adapter.health(market, account, time)
            for asset in quotes.keys() - its_own.keys():
                moved = adapter.priced(market, asset, 3 * (quotes[asset] or 1))
                assert adapter.health(moved, account, time) == health


@EVERY
def test_an_account_with_debt_is_told_at_which_price_it_turns(tape: Tape) -> None:
    step, turns = tape.full[-1], 0
    for _, account in accounts_of(step):
        told = explanation(tape.adapter, step.after.market, account, step.block.timestamp)
        found = [TURNS.fullmatch(one.value) for one in told if one.name.endswith(" turns at")]
        turns += sum(match is not None for match in found)

    assert turns > 20


@EVERY
def test_tokens_can_be_shown(tape: Tape) -> None:
    for step in tape.full:
        tokens = tape.adapter.tokens(step.after.market)
        shown = {
            asset
            for _, account in accounts_of(step)
            for asset in tape.adapter.assets(step.after.market, account)
        }
        assert shown <= tokens.keys()
        for token in tokens.values():
            assert token.symbol
            assert token.symbol.isprintable()
            assert 0 <= token.decimals <= 255


# --- the screen ----------------------------------------------------------------------------------


@EVERY
def test_the_screen_passes_over_nobody_under_one_and_knows_a_lower_bound(tape: Tape) -> None:
    screen, under, healthy, passed_over = Screen(tape.adapter), 0, 0, 0
    before: dict[Holder, Account] = {}
    for step in tape.steps:
        market, time, now = step.after.market, step.block.timestamp, step.after.accounts
        for holder in before.keys() | now.keys():
            if before.get(holder) is not now.get(holder):
                screen.update(holder, now.get(holder))
        weights = screen.weigh(market, time)
        looked_at = set(screen.candidates(weights))
        bounds = {holder: bound for bound, holder in screen.ranking(weights)}
        for holder, account in now.items():
            health = tape.adapter.health(market, account, time)
            if account.is_open and (health.is_unhealthy or health.error is not None):
                under += 1
                assert holder in looked_at
            if health.factor is not None:
                assert bounds[holder] * WAD < health.factor + 1  # which is rounded down
                healthy += health.factor > CLEARLY_HEALTHY
                passed_over += health.factor > CLEARLY_HEALTHY and holder not in looked_at
        before = dict(now)

    assert under > 100
    assert passed_over > healthy * 9 // 10


@EVERY
def test_dust_is_seen_at_any_limit_that_can_be_watched(tape: Tape) -> None:
    for step in tape.full[::4]:
        market, time, adapter = step.after.market, step.block.timestamp, tape.adapter
        everybody = {
            Address(holder + bytes([parts, lent])): dusty(account, 10**parts, 10**lent)
            for holder, account in accounts_of(step)
            for parts, lent in product(range(0, 25, 2), (0, 3, 6))
        }
        screen = Screen(adapter)
        screen.load(everybody)
        weights = screen.weigh(market, time)
        bounds = {holder: bound for bound, holder in screen.ranking(weights)}
        factors = {
            holder: health.factor
            for holder, account in everybody.items()
            if (health := adapter.health(market, account, time)).factor is not None
        }
        for holder, factor in factors.items():
            assert bounds[holder] * WAD < factor + 1
        for limit in (1, 2, 10, 10**3, 10**6, 10**9):
            under = {holder for holder, factor in factors.items() if factor < limit * WAD}
            assert under <= set(screen.candidates(weights, float(limit)))


def dusty(account: Account, part: int, lent: int) -> Account:
    """A small part of an account, and a smaller one of its debt."""
    supplied = {asset: held // part for asset, held in account.supplied.items() if held >= part}
    divisor = part * lent
    owed = {asset: debt // divisor for asset, debt in account.owed.items() if debt >= divisor}
    enabled = account.enabled & supplied.keys() | account.enabled & owed.keys()
    return account.but(supplied=supplied, owed=owed, enabled=frozenset(enabled))


@EVERY
def test_every_column_can_be_weighed_and_counts_on_one_side(tape: Tape) -> None:
    for step in tape.full:
        columns = list(
            dict.fromkeys(
                column
                for _, account in accounts_of(step)
                for column, _ in tape.adapter.columns(account)
            )
        )
        assert columns
        collateral, debt = tape.adapter.weights(step.after.market, columns, step.block.timestamp)
        assert len(collateral) == len(debt) == len(columns)
        for (_, is_debt, _), supplied, owed in zip(columns, collateral, debt, strict=True):
            assert (supplied if is_debt else owed) == 0
            assert not supplied < 0
            assert not owed < 0


# --- the proof -----------------------------------------------------------------------------------


@EVERY
def test_at_full_blocks_the_contracts_own_views_differ_in_nothing(tape: Tape) -> None:
    proved = 0
    for step in tape.full:
        for holder, account in proven(tape, step):
            calls = tape.adapter.proof(step.after.market, holder)
            assert calls
            found = tape.adapter.differences(
                step.after.market, holder, account, step.block, tape.answers(step, calls)
            )
            assert found == ()
            proved += 1

    assert proved > 250


def proven(tape: Tape, step: Step) -> Iterator[tuple[Holder, Account]]:
    """Accounts of whom the recording has the views."""
    for holder, account in accounts_of(step):
        if tape.adapter.published(holder)[1] in step.line.truth:
            yield holder, account


@EVERY
def test_another_digit_in_a_view_is_noticed(tape: Tape) -> None:
    step = tape.full[len(tape.full) // 2]
    noticed: dict[tuple[str, int], bool] = {}
    for holder, account in proven(tape, step):
        if not account.is_open:
            continue
        calls = tape.adapter.proof(step.after.market, holder)
        honest = tape.answers(step, calls)
        for call, answer in honest.items():
            for place, spoiled in enumerate(spoilt(answer)):
                readings = {**honest, call: spoiled}
                found = tape.adapter.differences(
                    step.after.market, holder, account, step.block, readings
                )
                key = (call.data[:4].hex(), place)
                noticed[key] = noticed.get(key, False) or bool(found)
                assert all(its.ours != its.theirs for its in found)

    silent = {key for key, was in noticed.items() if not was}
    assert noticed
    assert silent == NOT_COMPARED.get(tape.family, {}).keys()


def spoilt(answer: Answer) -> Iterator[bytes]:
    """Yield the answer with the last digit of each word another."""
    for end in range(WORD, len(answer or b"") + 1, WORD):
        changed = bytearray(answer or b"")
        changed[end - 1] ^= 1
        yield bytes(changed)


@EVERY
def test_a_view_that_reverts_is_a_difference_where_ours_answers(tape: Tape) -> None:
    step = tape.full[0]
    market, time = step.after.market, step.block.timestamp
    priced = [
        (holder, account)
        for holder, account in proven(tape, step)
        if account.is_open and tape.adapter.health(market, account, time).error is None
    ]
    for holder, account in priced[:3]:
        calls = tape.adapter.proof(market, holder)
        honest = tape.answers(step, calls)
        for call in calls:
            readings = {**honest, call: None}
            assert tape.adapter.differences(market, holder, account, step.block, readings)


@EVERY
def test_another_amount_in_the_book_is_a_difference(tape: Tape) -> None:
    step = tape.full[0]
    for holder, account in proven(tape, step):
        for asset, owed in account.owed.items():
            wrong = account.but(owed={**account.owed, asset: owed + owed // 1000 + 1})
            calls = tape.adapter.proof(step.after.market, holder)
            answers = tape.answers(step, calls)
            assert tape.adapter.differences(step.after.market, holder, wrong, step.block, answers)


# --- which families there are --------------------------------------------------------------------


def test_every_kind_that_can_be_configured_is_built_and_has_a_recording() -> None:
    assert {family_of(path) for path in BUILT} == BUILT_IN.keys() == set(KINDS)
