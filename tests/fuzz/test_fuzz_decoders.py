"""What a chain says, through the real adapters: logs, answers to polls, answers to questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from msgspec import structs

from chimera.domain.block import Address, BlockBatch, Log
from chimera.domain.call import Answer, Call, Inquiry, T
from chimera.domain.market import Account, Holder, Market
from chimera.errors import ChimeraError, Rebuild
from chimera.registry import BUILT_IN
from chimera.replay.codec import shape_of
from chimera.state.book import Book
from chimera.state.screen import Screen
from tests.fuzz.fuzzing import Draw, Fuzz, a_word, rarely, spoiled
from tests.fuzz.scenes import Scene, lives_of
from tests.protocols.conformance import everything, play

FAMILY = pytest.mark.parametrize("family", sorted(BUILT_IN))
TURNS = 40  # an inquiry or a seal that asks more often goes in circles
JUDGED = 4  # accounts per example, besides those that moved


# --- drawing -------------------------------------------------------------------------------------


def a_scene(draw: Draw, family: str) -> Scene:
    return draw(st.sampled_from(draw(st.sampled_from(lives_of(family))).scenes))


def a_log(draw: Draw, scene: Scene) -> Log:
    life = scene.life
    topic = draw(st.sampled_from(sorted(life.adapter.topics)))
    emitter = draw(st.sampled_from(life.emitters))
    words = tuple(a_word(draw) for _ in range(draw(st.integers(0, 3))))
    log = life.donors.get(topic, Log(emitter, (topic, *words), bytes(128), 0, 0))
    if rarely(draw, one_in=8):
        log = structs.replace(log, address=emitter)
    if not rarely(draw, one_in=4):
        log = structs.replace(log, data=spoiled(draw, log.data))
    if rarely(draw, one_in=2):
        log = structs.replace(log, topics=(topic, *topics(draw, scene, log.topics[1:])))
    return log


def topics(draw: Draw, scene: Scene, seed: Sequence[bytes]) -> tuple[bytes, ...]:
    """Topics are 32 bytes each, or `rpc` refuses the log; there may be up to four."""
    people = [holder[-20:].rjust(32, b"\0") for holder in list(scene.accounts)[:20]]
    places = [emitter.rjust(32, b"\0") for emitter in scene.life.emitters]
    known = st.sampled_from([*people, *places, *seed])
    found = [draw(known) if draw(st.booleans()) else a_word(draw) for _ in seed]
    return tuple([*seed, *found][draw(st.integers(0, 2)) :][: draw(st.integers(0, 3))])


def spoiled_logs(draw: Draw, scene: Scene) -> tuple[Log, ...]:
    logs = list(scene.batch.logs)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(logs)))
        match draw(st.sampled_from(["new", "new", "new", "gone", "twice", "swapped", "data"])):
            case "gone":
                logs = logs[:place] + logs[place + 1 :]
            case "twice":
                logs = logs[:place] + logs[max(0, place - 1) :]
            case "swapped":
                logs = logs[place:] + logs[:place]
            case "data" if place < len(logs):
                logs[place] = structs.replace(logs[place], data=spoiled(draw, logs[place].data))
            case _:
                logs.insert(place, a_log(draw, scene))
    return tuple(structs.replace(log, log_index=index) for index, log in enumerate(logs))


def spoiled_answer(draw: Draw, answer: Answer) -> Answer:
    match draw(st.sampled_from(["spoiled", "spoiled", "spoiled", "reverts", "empty"])):
        case "reverts":
            return None
        case "empty":
            return b""
        case _:
            return spoiled(draw, answer or bytes(32))


class Answers:
    """The recorded answers, with a few of them spoiled; the same call answers alike."""

    def __init__(self, draw: Draw, scene: Scene, *, honest: bool = False) -> None:
        most = 0 if honest else draw(st.sampled_from([8, 40, 200]))
        self._wrong = draw(st.sets(st.integers(0, most), max_size=4)) if most else set()
        self._draw, self._scene = draw, scene
        self._given: dict[Call, Answer] = {}

    def __call__(self, call: Call) -> Answer:
        if call not in self._given:
            answer = self._scene.answer(call)
            if len(self._given) in self._wrong:
                answer = spoiled_answer(self._draw, answer)
            self._given[call] = answer
        return self._given[call]


def asked(inquiry: Inquiry[T], answers: Callable[[Call], Answer]) -> T:
    try:
        calls = next(inquiry)
        for _ in range(TURNS):
            calls = inquiry.send({call: answers(call) for call in calls})
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("the inquiry never ends")


def sealed(
    scene: Scene, book: Book, batch: BlockBatch, answers: Callable[[Call], Answer]
) -> BlockBatch:
    adapter = scene.life.adapter
    market, accounts = book.market(adapter.name), book.accounts(adapter.name)
    readings = dict(batch.readings)
    for _ in range(TURNS):
        needs = adapter.needs(market, accounts, batch.block, batch.logs, readings)
        missing = [call for call in needs.calls if call not in readings]
        if not missing:
            return replace(batch, readings=readings)
        readings |= {call: answers(call) for call in missing}
    raise AssertionError("the block never has all it needs")


# --- judging -------------------------------------------------------------------------------------


def holds_for(draw: Draw, scene: Scene, book: Book) -> None:
    """Whatever the figures have become: they are no nonsense, and something is said about them."""
    adapter = scene.life.adapter
    market, users = book.market(adapter.name), book.accounts(adapter.name).users
    moved = [key[1] for key in book.touched if key[1] in users]
    some = draw(st.lists(st.sampled_from(sorted(users)), max_size=JUDGED)) if users else []
    for holder in dict.fromkeys([*moved, *some]):
        has_sane_amounts(users[holder])
        judge(scene, market, holder, users[holder])
    screen = Screen(adapter)
    screen.load(users)
    screen.candidates(screen.weigh(market, scene.batch.block.timestamp))
    adapter.interest(market)
    adapter.polls(market, book.accounts(adapter.name), scene.batch.block)
    assert adapter.tokens(market) is not None
    assert adapter.quotes(market) is not None
    assert adapter.quoted(market) is not None
    same(market, type(market))


def has_sane_amounts(account: Account) -> None:
    assert all(amount > 0 for amount in account.supplied.values()), account
    assert all(amount > 0 for amount in account.owed.values()), account
    assert all(amount > 0 for amount in account.marks.values()), account


def judge(scene: Scene, market: Market, holder: Holder, account: Account) -> None:
    adapter, time = scene.life.adapter, scene.batch.block.timestamp
    assert adapter.value(market, account, time).health == adapter.health(market, account, time)
    adapter.verdict(market, account, time)
    adapter.explain(market, account, time, holder)
    adapter.assets(market, account)
    adapter.quoted(market, account)
    list(adapter.columns(account))
    same(account, Account)


def same(value: object, kind: type[Any]) -> None:
    """What a recording writes of it is what a replay reads."""
    shape = shape_of(kind)
    assert shape.write(shape.read(shape.write(value))) == shape.write(value)


# --- the targets ---------------------------------------------------------------------------------


@FAMILY
def test_logs(fuzz: Fuzz, family: str) -> None:
    assert lives_of(family)

    def hold(draw: Draw) -> None:
        scene = a_scene(draw, family)
        batch = replace(scene.batch, logs=spoiled_logs(draw, scene))
        applied(draw, scene, batch, honest=not rarely(draw, one_in=4))

    fuzz(hold, shrink=False)


@FAMILY
def test_readings(fuzz: Fuzz, family: str) -> None:
    assert lives_of(family)

    def hold(draw: Draw) -> None:
        scene = a_scene(draw, family)
        readings = dict(scene.batch.readings)
        calls = sorted(readings, key=lambda call: (call.to, call.data))
        for call in draw(st.lists(st.sampled_from(calls), max_size=4)) if calls else ():
            readings[call] = spoiled_answer(draw, readings[call])
        applied(draw, scene, replace(scene.batch, readings=readings), honest=False)

    fuzz(hold, shrink=False)


def applied(draw: Draw, scene: Scene, batch: BlockBatch, *, honest: bool) -> None:
    """Refused, with the book as it was; or done, and then everything holds and can be undone."""
    adapter, book = scene.life.adapter, scene.book()
    before = everything(adapter, book)
    try:
        play(adapter, book, sealed(scene, book, batch, Answers(draw, scene, honest=honest)))
    except ChimeraError:
        assert everything(adapter, book) == before
        return
    holds_for(draw, scene, book)
    book.rollback(scene.block.number)
    assert everything(adapter, book) == before


@FAMILY
def test_questions(fuzz: Fuzz, family: str) -> None:
    """What is asked at a start and by reconciliation, answered wrongly here and there."""

    assert lives_of(family)

    def hold(draw: Draw) -> None:
        life = draw(st.sampled_from(lives_of(family)))
        scene = draw(st.sampled_from(life.full or life.scenes))
        adapter, block = life.adapter, scene.line.block
        wrong, honest = Answers(draw, scene), Answers(draw, scene, honest=True)
        holders = draw(st.lists(st.sampled_from(sorted(scene.accounts)), max_size=3))
        try:
            asked(adapter.prove(), wrong)
            market = asked(adapter.read_market(block), wrong)
            market = asked(adapter.read_rest(market, holders, block), wrong)
            asked(adapter.sources(market), wrong)
            accounts = asked(
                adapter.read_accounts(market, holders, block),
                draw(st.sampled_from([wrong, honest])),
            )
        except ChimeraError:
            return
        same(market, type(market))
        for holder, account in accounts.items():
            has_sane_amounts(account)
            judge(scene, market, holder, account)

    fuzz(hold, shrink=False)


@FAMILY
def test_proofs(fuzz: Fuzz, family: str) -> None:
    assert lives_of(family)

    def hold(draw: Draw) -> None:
        scene = a_scene(draw, family)
        adapter = scene.life.adapter
        holder = draw(st.sampled_from(sorted(scene.accounts)))
        answers = Answers(draw, scene)
        readings = {call: answers(call) for call in adapter.proof(scene.market, holder)}
        for call in readings if draw(st.booleans()) else ():
            readings[call] = spoiled_answer(draw, readings[call])
        try:
            found = adapter.differences(
                scene.market, holder, scene.accounts[holder], scene.block, readings
            )
        except ChimeraError:
            return
        assert all(one.ours != one.theirs for one in found)

    fuzz(hold, shrink=False)


@FAMILY
def test_names_in_logs(fuzz: Fuzz, family: str) -> None:
    assert lives_of(family)

    def hold(draw: Draw) -> None:
        scene = a_scene(draw, family)
        adapter = scene.life.adapter
        suppliers = draw(st.booleans())
        query = adapter.discovery(scene.market, suppliers=suppliers)
        logs = [log for log in spoiled_logs(draw, scene) if query.wants(log)]
        for topic in draw(st.lists(st.sampled_from(sorted(query.topics)), max_size=3)):
            emitter = Address(draw(st.sampled_from(sorted(query.addresses))))
            seed = scene.life.donors.get(topic)
            more = topics(draw, scene, () if seed is None else seed.topics[1:])
            data = b"" if seed is None else seed.data
            logs.append(Log(emitter, (topic, *more), spoiled(draw, data), 0, 0))
        try:
            users = adapter.users_in(logs, suppliers=suppliers)
        except Rebuild:
            return
        assert all(adapter.holder(*adapter.published(user)) == user for user in users)

    fuzz(hold)
