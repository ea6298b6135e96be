"""What every family keeps: the mirror's state follows the chain, and nothing but the chain."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec import structs

from chimera.chain.reader import RpcReader
from chimera.domain.block import Address, Block, BlockBatch, Log
from chimera.errors import Rebuild, Refuse
from chimera.rpc.wire import WireLog, hexed
from chimera.state.book import Book
from chimera.state.screen import Screen
from tests.fakes_chain import ScriptedClient, answering
from tests.protocols.conformance import (
    EVERY,
    UNASKED,
    Step,
    Tape,
    book_of,
    contents,
    everything,
    known,
    noted,
    parent_of,
    play,
    sealed,
    state_of,
    with_logs,
)

FOREIGN = Address(b"\xfe" * 20)
UNHEARD = b"\xfd" * 32
TURNS, DEPTH = 12, 6  # how often a test rolls back, and how many blocks at the most
EXAMPLES = 400  # logs of nonsense per recording
WORD = 32


# --- the replay is the truth ---------------------------------------------------------------------


@EVERY
def test_every_account_agrees_with_the_contracts_at_every_block(tape: Tape) -> None:
    assert tape.comparison.mismatches[:5] == []
    assert len(tape.steps) == len(tape.replay.recording.followed)
    assert tape.comparison.compared > 10_000


@EVERY
def test_a_bootstrap_equals_the_replay(tape: Tape) -> None:
    asked = {step.block.number for step in tape.canonical if step.line.is_full}
    assert UNASKED.get(tape.name, set()) <= asked
    assert len(tape.full) >= 6

    for step in tape.full:
        fresh, others = tape.snapshot(step), tape.others(step)
        assert known(tape, step.after.market) == known(tape, fresh.market), step.block.number
        ours = contents(step.after.accounts, balances_only=others)
        assert ours == contents(fresh.accounts, balances_only=others), step.block.number


@EVERY
def test_two_bootstraps_at_different_blocks_end_alike(tape: Tape) -> None:
    late = tape.full[len(tape.full) // 2]
    following = tape.canonical[tape.canonical.index(late) + 1 :]
    assert len(following) > 20
    book = book_of(tape, tape.snapshot(late), late.block)
    others = tape.others(late)  # their flags were not read, so logs cannot complete them

    for step in following:
        play(tape.adapter, book, step.batch)

    end, ours = tape.canonical[-1].after, state_of(tape.adapter, book)
    assert known(tape, ours.market) == known(tape, end.market)
    assert contents(ours.accounts, balances_only=others) == contents(
        end.accounts, balances_only=others
    )


@EVERY
def test_discovery_names_everybody_who_ever_had_debt(tape: Tape) -> None:
    borrowers = {
        holder for step in tape.steps for holder, its in step.after.accounts.items() if its.is_open
    }
    assert len(borrowers) > 40
    adapter, suppliers = tape.adapter, tape.adapter.needs_suppliers
    query = adapter.discovery(tape.steps[-1].after.market, suppliers=suppliers)

    named: set[Address] = set()
    for line in tape.replay.recording.lines:
        named |= adapter.users_in(line.logs_of(query), suppliers=suppliers)

    assert borrowers <= named


# --- undo ----------------------------------------------------------------------------------------


@EVERY
def test_a_rollback_restores_bit_for_bit_and_the_same_blocks_lead_to_the_same(tape: Tape) -> None:
    adapter, chain = tape.adapter, tape.canonical
    book = book_of(tape, chain[0].after, chain[0].block)
    chance = Random(tape.name)  # noqa: S311  (the same at every run)
    turns = set(chance.sample(range(1, len(chain) - DEPTH), TURNS))

    for place, step in enumerate(chain[1:], start=1):
        if place in turns:
            depth = chance.randint(1, DEPTH)
            saved = everything(adapter, book)
            for later in chain[place : place + depth]:
                play(adapter, book, later.batch)
            assert everything(adapter, book) != saved
            book.rollback(chain[place - 1].block.number)
            assert everything(adapter, book) == saved
        play(adapter, book, step.batch)
        assert state_of(adapter, book) == step.after


@EVERY
def test_a_reorg_starts_from_what_the_ancestor_left(tape: Tape) -> None:
    left = {step.block.hash: step.after for step in tape.steps}
    reorgs = [
        step
        for step, last in zip(tape.steps[1:], tape.steps, strict=False)
        if step.block.parent_hash != last.block.hash
    ]

    assert len(reorgs) == 2
    for step in reorgs:
        assert step.before == left[step.block.parent_hash]


@EVERY
def test_a_block_is_applied_once(tape: Tape) -> None:
    first, second = tape.canonical[:2]
    book = book_of(tape, first.after, first.block)
    play(tape.adapter, book, second.batch)
    before = everything(tape.adapter, book)

    with pytest.raises(Rebuild):
        play(tape.adapter, book, second.batch)

    book.abort()
    assert everything(tape.adapter, book) == before


# --- the order of logs ---------------------------------------------------------------------------


@EVERY
def test_the_order_of_logs_decides(tape: Tape) -> None:
    chain = tape.canonical[1:]

    assert sum(reordered(tape, step, step.batch.logs[::-1]) for step in chain) > 1
    assert not any(reordered(tape, step, step.batch.logs) for step in chain)


def reordered(tape: Tape, step: Step, logs: Sequence[Log]) -> bool:
    """Whether these logs lead somewhere else than the recorded ones, or had to be corrected."""
    book = book_of(tape, step.before, parent_of(step))
    try:
        play(tape.adapter, book, sealed(tape, book, step, logs))
    except Rebuild:
        return True
    ours = state_of(tape.adapter, book)
    return (ours, noted(ours.market)) != (step.after, noted(step.after.market))


@EVERY
async def test_a_node_that_answers_in_disorder_changes_nothing(tape: Tape) -> None:
    step = max(tape.canonical[1:], key=lambda step: len(step.batch.logs))
    wire = [on_the_wire(log, step.block) for log in step.batch.logs]
    assert len(wire) > 3
    Random(tape.name).shuffle(wire)  # noqa: S311  (the same at every run)
    reader = RpcReader(ScriptedClient(answering(lambda _method, _params: wire), attempts=1))
    book = book_of(tape, step.before, parent_of(step))

    logs = await reader.logs_of(step.block, tape.adapter.interest(step.after.market))
    play(tape.adapter, book, with_logs(step.batch, logs))

    assert logs == step.batch.logs
    assert state_of(tape.adapter, book) == step.after


def on_the_wire(log: Log, block: Block) -> object:
    wire = WireLog(
        address=hexed(log.address),
        topics=[hexed(topic) for topic in log.topics],
        data=hexed(log.data),
        block_number=hex(log.block_number),
        block_hash=hexed(block.hash),
        log_index=hex(log.log_index),
    )
    return msgspec.to_builtins(wire)


# --- logs that are nobody's ----------------------------------------------------------------------


@EVERY
def test_logs_that_nobody_knows_change_nothing(tape: Tape) -> None:
    for step in tape.canonical[1::5]:
        book = book_of(tape, step.before, parent_of(step))
        honest = play(tape.adapter, book, step.batch)
        book.rollback(step.block.number - 1)
        strange = mixed(step.batch, strangers(tape, step))
        market, accounts = step.before.market, book.accounts(tape.adapter.name)
        needs = tape.adapter.needs(market, accounts, step.block, strange.logs, step.batch.readings)

        assert not [call for call in needs.calls if call not in step.batch.readings]
        assert play(tape.adapter, book, strange) == honest
        assert state_of(tape.adapter, book) == step.after


def strangers(tape: Tape, step: Step) -> list[Log]:
    """Unheard topics of followed contracts, known logs of unheard contracts."""
    followed = sorted(tape.adapter.interest(step.before.market).addresses)
    assert UNHEARD not in tape.adapter.topics
    assert FOREIGN not in followed
    number = step.block.number
    ours = [
        Log(address, (UNHEARD, *more), data, 0, number)
        for address in followed
        for more, data in (((), b""), ((UNHEARD,) * 3, b"\xff" * 96))
    ]
    theirs = [
        structs.replace(log, address=FOREIGN) for log in (*tape.donors.values(), *step.batch.logs)
    ]
    return ours + theirs


def mixed(batch: BlockBatch, more: Sequence[Log]) -> BlockBatch:
    """Give the other logs places that are free in the block: what follows at once still does."""
    taken = {log.log_index for log in batch.logs}
    free = [at for at in range(max(taken, default=0) + len(more) + 1) if at not in taken]
    chance = Random(batch.block.number)  # noqa: S311  (the same at every run)
    places = chance.sample(free, len(more))
    others = [structs.replace(log, log_index=at) for log, at in zip(more, places, strict=True)]
    return with_logs(batch, sorted((*batch.logs, *others), key=lambda log: log.log_index))


# --- nonsense ------------------------------------------------------------------------------------


@EVERY
def test_nonsense_in_a_followed_log_is_a_rebuild_and_leaves_the_book_alone(tape: Tape) -> None:
    """A log that decodes by chance may do as it says; every other one is refused whole."""
    refused: set[bytes] = set()

    @given(nonsense(tape), st.integers(1, len(tape.canonical) - 1), st.integers(0, 99))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],  # an example is small, and making it smaller takes minutes
    )
    def hold(log: Log, height: int, place: int) -> None:
        step = tape.canonical[height]
        book = book_of(tape, step.before, parent_of(step))
        before = everything(tape.adapter, book)
        place %= len(step.batch.logs) + 1
        logs = [*step.batch.logs[:place], log, *step.batch.logs[place:]]
        try:
            play(tape.adapter, book, sealed(tape, book, step, logs))
        except (Rebuild, Refuse):
            refused.add(log.topics[0])
            assert everything(tape.adapter, book) == before
        else:
            judge_all(tape, book, step)

    hold()
    assert len(refused) > 3


def judge_all(tape: Tape, book: Book, step: Step) -> None:
    """Whatever the figures have become, something is said about them."""
    adapter, time, state = tape.adapter, step.block.timestamp, state_of(tape.adapter, book)
    screen = Screen(adapter)
    screen.load(state.accounts)
    screen.candidates(screen.weigh(state.market, time))
    for account in state.accounts.values():
        assert adapter.value(state.market, account, time).health == adapter.health(
            state.market, account, time
        )
        adapter.verdict(state.market, account, time)


def nonsense(tape: Tape) -> st.SearchStrategy[Log]:
    """Logs of every followed topic: cut short, too long, of other words, or of other topics."""
    contracts = sorted(tape.adapter.interest(tape.steps[-1].after.market).addresses)
    words = st.binary(min_size=WORD, max_size=WORD)

    @st.composite
    def one(draw: st.DrawFn) -> Log:
        topic = draw(st.sampled_from(sorted(tape.adapter.topics)))
        donor = tape.donors.get(topic)
        if donor is None:
            address = draw(st.sampled_from(contracts))
            more = tuple(draw(st.lists(words, max_size=3)))
            return Log(address, (topic, *more), draw(st.binary(max_size=8 * WORD)), 0, 0)
        match draw(st.sampled_from(["cut", "longer", "other words", "other topics"])):
            case "cut":
                return structs.replace(
                    donor, data=donor.data[: draw(st.integers(0, len(donor.data)))]
                )
            case "longer":
                return structs.replace(
                    donor, data=donor.data + draw(st.binary(min_size=1, max_size=99))
                )
            case "other words":
                size = len(donor.data)
                return structs.replace(donor, data=draw(st.binary(min_size=size, max_size=size)))
            case _:
                return structs.replace(donor, topics=(topic, *draw(st.lists(words, max_size=3))))

    return one()
