"""Every room, built from the settings, and the doors between them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chimera.api.server import ApiServer, build_app
from chimera.app import endpoints
from chimera.app.heartbeat import Labour, Progress, heartbeat, signs
from chimera.app.snapshots import Snapshots, identity_of
from chimera.chain.backfill import scan
from chimera.chain.feed import ChainFeed
from chimera.chain.quorum import Quorum, Witness
from chimera.chain.reader import RpcReader
from chimera.chain.sequencer import AskingSequencer, Sequencer
from chimera.detection.detector import OpportunityDetector
from chimera.detection.ledger import OpportunityLedger
from chimera.errors import Retry
from chimera.observability.metrics import Metrics
from chimera.ports import Adapter, Operator
from chimera.publish.fanout import FlagStream
from chimera.registry import build_adapter
from chimera.replay.recorder import Overheard, RecordedFeed
from chimera.rpc.announcements import Event
from chimera.rpc.client import HttpClient
from chimera.rpc.pool import Alone, Member, Pool
from chimera.rpc.websocket import Subscription
from chimera.service import Service
from chimera.settings import Settings
from chimera.state.book import Book
from chimera.state.cache import PositionCache
from chimera.state.documents import Documents
from chimera.state.engine import StateEngine
from chimera.state.listing import Listing
from chimera.state.publisher import CachePublisher
from chimera.state.rebuild import Bootstrap
from chimera.state.reconcile import Reconciler
from chimera.state.trust import Trust
from chimera.store.history import SqlHistory
from chimera.store.writer import HistoryWriter

SILENT_BLOCKS = 3  # block times without a head, after which the node is asked
LAGGING_BLOCKS = 5  # block times for which another endpoint may stand still behind the last one
LEAST_SILENCE = 2.0  # seconds
LEAST_PATIENCE, MOST_PATIENCE = 1.0, 3.0  # seconds for a silent socket to answer: a block time
CONNECTING = 5.0  # seconds
TIMEOUT, ATTEMPTS = 5.0, 2  # seconds and tries at one endpoint, before the next is asked
EPISODES_KEPT = 10_000  # closed ones, in memory


@dataclass(slots=True)
class Chain:
    """What speaks to the nodes, and the protocols on the chain."""

    settings: Settings
    metrics: Metrics
    clients: Sequence[HttpClient]
    pool: Pool
    reader: RpcReader
    adapters: dict[str, Adapter[Any]]  # one that becomes unfit while running is taken out
    sequencer: Sequencer | None = None  # where the chain has an uptime feed

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.aclose()


@dataclass(slots=True)
class Rooms:
    """The whole house."""

    chain: Chain
    history: SqlHistory
    writer: HistoryWriter
    book: Book
    cache: PositionCache
    engine: StateEngine
    publisher: CachePublisher
    bootstrap: Bootstrap
    snapshots: Snapshots
    subscription: Subscription
    quorum: Quorum | None
    feed: ChainFeed | RecordedFeed
    detector: OpportunityDetector
    ledger: OpportunityLedger
    flags: FlagStream
    listing: Listing
    labour: Labour
    reconciler: Reconciler | None = None
    aside: Pool | None = None  # the reconciler's connections

    @property
    def episodes_kept(self) -> int:
        """How many episodes are taken over from the history at a start."""
        return EPISODES_KEPT

    @property
    def settings(self) -> Settings:
        """What the operator decided."""
        return self.chain.settings

    @property
    def metrics(self) -> Metrics:
        """Where everything is counted."""
        return self.chain.metrics

    def serve(self, operator: Operator) -> Sequence[Service]:
        """Return the services in the order of their start; the API speaks for `operator`."""
        services: list[Service] = [
            *heartbeat(
                lambda: signs(operator.status(), self.labour, flags=self.detector.open_count),
                block_time=self.settings.chain.block_time,
            ),
            *(self.cache, self.writer, self.snapshots, self.flags, self.publisher),
        ]
        if self.reconciler is not None:
            services.append(self.reconciler)
        http = self.settings.http
        if http.listen:
            app = build_app(
                positions=self.listing,
                opportunities=self.ledger,
                operator=operator,
                metrics_text=self.metrics.render,
                confirmation_blocks=self.settings.detection.confirmation_blocks,
                observe=self._observe_request,
            )
            services.append(ApiServer(app, host=http.host, port=http.port))
        return services

    async def close(self) -> None:
        """Close every connection; the services have written what was pending when they ended."""
        await self.history.close()
        await self.chain.close()
        if self.aside is not None:
            await self.aside.aclose()

    def _observe_request(self, route: str, status: int, seconds: float) -> None:
        self.metrics.http_requests.labels(route, str(status)).inc()
        self.metrics.http_seconds.labels(route).observe(seconds)


def build_chain(settings: Settings) -> Chain:
    """Build what `check` and `why` need: a reader, and the adapters."""
    metrics = Metrics()
    clients = _clients(settings, metrics, attempts=ATTEMPTS)
    pool = Pool(clients, chain_id=settings.chain.id)
    adapters = {
        its.name: build_adapter(
            kind=its.kind,
            name=its.name,
            address=its.address_bytes,
            from_block=its.from_block,
            markets=its.market_ids,
        )
        for its in settings.protocols
    }
    metrics.follow(adapters)
    return Chain(settings, metrics, clients, pool, RpcReader(pool), adapters, _sequencer(settings))


def _sequencer(settings: Settings) -> Sequencer | None:
    feed = settings.chain.sequencer_feed_bytes
    return None if feed is None else Sequencer(feed, grace=settings.chain.sequencer_grace)


def build_cache(settings: Settings, metrics: Metrics) -> PositionCache:
    """Build the published face of the book."""
    return PositionCache(
        settings.redis.url,
        ttl=settings.redis.ttl,
        on_fault=lambda _name: metrics.cache_dropped.inc(),
    )


def build_rooms(
    settings: Settings,
    *,
    progress: Progress | None = None,
    overheard: Callable[[Event], None] | None = None,
) -> Rooms:
    """
    Build the whole house; nothing in it has started, nothing has been asked.

    `overheard` is told whatever the subscription says.
    """
    chain = build_chain(settings)
    metrics = chain.metrics
    history = SqlHistory(settings.history.url, chain_id=settings.chain.id)
    detector = OpportunityDetector(
        chain_id=settings.chain.id,
        confirmation_blocks=settings.detection.confirmation_blocks,
    )
    book, cache, labour = Book(), build_cache(settings, metrics), Labour(progress)
    engine = StateEngine(
        chain.adapters,
        book,
        cache,
        streaks=detector.streaks,
        watch_below=float(settings.detection.watch_below),
        trust=Trust(window=settings.reconcile.within),
    )
    writer = HistoryWriter(
        history, on_failure=metrics.history_failures.inc, on_dropped=metrics.history_dropped.inc
    )
    complete = frozenset(
        its.name
        for its in settings.protocols
        if its.suppliers or chain.adapters[its.name].needs_suppliers
    )
    bootstrap = Bootstrap(
        chain.reader.labelled("bootstrap"),
        writer,
        chain.adapters,
        book,
        scan=functools.partial(scan, initial_range=settings.rpc.max_log_range),
        suppliers=complete,
        chosen={
            its.name: its.market_ids for its in settings.protocols if its.market_ids is not None
        },
        progress=labour.of_protocol,
    )
    subscription, quorum = _subscription(chain), _quorum(chain)
    rooms = Rooms(
        chain=chain,
        history=history,
        writer=writer,
        book=book,
        cache=cache,
        engine=engine,
        publisher=CachePublisher(cache, engine.mirror, on_written=metrics.event_to_cache.observe),
        bootstrap=bootstrap,
        snapshots=Snapshots(
            settings.history.url,
            identity_of(settings, complete),
            engine,
            bootstrap,
            most_behind=settings.rpc.max_backfill_blocks,
        ),
        subscription=subscription,
        quorum=quorum,
        feed=_feed(chain, subscription, engine, quorum, overheard),
        detector=detector,
        ledger=OpportunityLedger(detector, keep=EPISODES_KEPT),
        flags=FlagStream(
            settings.redis.url,
            chain_id=settings.chain.id,
            on_dropped=metrics.flags_dropped.inc,
        ),
        listing=Listing(engine),
        labour=labour,
    )
    _watch(rooms)
    if settings.reconcile.enabled:
        rooms.reconciler = _reconciler(rooms)
    return rooms


def _reconciler(rooms: Rooms) -> Reconciler:
    settings, metrics = rooms.settings.reconcile, rooms.metrics
    documents = Documents(
        rooms.cache,
        rooms.engine.mirror,
        rooms.publisher,
        rooms.engine.trust,
        on_fault=lambda fault: metrics.cache_mismatches.labels(fault).inc(),
    )

    def returned() -> None:
        documents.settle()
        _say_again(rooms)

    rooms.cache.on_returned = returned
    # Connections of its own: a node that is slow or refuses here must not be avoided by the blocks'
    # path, nor make its multicalls smaller. What fails is not tried again: the next block comes.
    rooms.aside = Pool(
        _clients(rooms.settings, metrics, attempts=1), chain_id=rooms.settings.chain.id
    )
    reconciler = Reconciler(
        RpcReader(rooms.aside, purpose="reconcile"),
        rooms.engine,
        documents,
        metrics,
        within=settings.within,
        most_calls=settings.calls,
    )
    metrics.reconcile_age.set_function(lambda: reconciler.age)
    return reconciler


def _subscription(chain: Chain) -> Subscription:
    settings, metrics = chain.settings, chain.metrics
    return Subscription(
        settings.rpc.ws,
        chain_id=settings.chain.id,
        silence=max(SILENT_BLOCKS * settings.chain.block_time, LEAST_SILENCE),
        timeout=CONNECTING,
        patience=min(max(settings.chain.block_time, LEAST_PATIENCE), MOST_PATIENCE),
        on_request=metrics.asked,
        on_reconnect=metrics.reconnects.inc,
    )


def _quorum(chain: Chain) -> Quorum | None:
    if chain.settings.rpc.quorum == 1:
        return None
    pool, metrics = chain.pool, chain.metrics

    def witness(member: Member) -> Witness:
        reader = RpcReader(Alone(pool, member))
        return Witness(member.label, reader, lambda why: pool.doubt(member, Retry(why)))

    witnesses = {member: witness(member) for member in pool.members}
    return Quorum(
        lambda: [witnesses[member] for member in pool.working()],
        on_difference=lambda label: metrics.quorum_differences.labels(label).inc(),
        on_unchecked=metrics.quorum_unchecked.inc,
    )


def _feed(
    chain: Chain,
    subscription: Subscription,
    engine: StateEngine,
    quorum: Quorum | None,
    overheard: Callable[[Event], None] | None,
) -> ChainFeed:
    settings, metrics = chain.settings, chain.metrics
    for source in subscription.sources:
        metrics.log_differences.labels(source.label)
    return ChainFeed(
        chain.reader,
        subscription if overheard is None else Overheard(subscription, overheard),
        engine if chain.sequencer is None else AskingSequencer(engine, chain.sequencer),
        most_behind=settings.rpc.max_backfill_blocks,
        lagging=LAGGING_BLOCKS * settings.chain.block_time,
        quorum=quorum,
        on_answer=subscription.heard_elsewhere,
        on_reorg=lambda _depth: metrics.reorgs.inc(),
        on_log_difference=lambda endpoint: metrics.log_differences.labels(endpoint).inc(),
    )


def _watch(rooms: Rooms) -> None:
    """Join the doors that need the whole house: gauges that read their rooms, the reload."""
    metrics = rooms.metrics
    metrics.head_block.set_function(lambda: rooms.feed.head)
    metrics.redis_connected.set_function(lambda: rooms.cache.state == "connected")
    metrics.history_pending.set_function(lambda: rooms.writer.pending)
    metrics.protocols_left_out.set_function(lambda: len(rooms.engine.unfollowed))
    metrics.flags_pending.set_function(lambda: rooms.flags.pending)
    metrics.cache_pending.set_function(lambda: rooms.publisher.pending)
    rooms.engine.rebuild = functools.partial(_reload, rooms)
    rooms.cache.head = lambda: 0 if rooms.feed.newest is None else rooms.feed.newest.number
    rooms.cache.on_returned = functools.partial(_say_again, rooms)
    endpoints.show(metrics, rooms.chain.pool, rooms.subscription.sources)
    if (sequencer := rooms.chain.sequencer) is not None:
        metrics.sequencer_up.set_function(
            lambda: sequencer.up(rooms.book.block) if rooms.book.loaded else math.nan
        )


def _say_again(rooms: Rooms) -> None:
    """Tell a Redis that came back, perhaps empty, everything that stands now."""
    rooms.publisher.publish_everything()
    rooms.flags.returned(rooms.detector.open_opportunities())


async def _reload(rooms: Rooms) -> None:
    """Read the whole book at the head: the `rebuild` of the engine's face."""
    await rooms.bootstrap.load(await rooms.chain.reader.head())
    rooms.engine.adopt()


def _clients(settings: Settings, metrics: Metrics, *, attempts: int) -> list[HttpClient]:
    return [
        HttpClient(url, timeout=TIMEOUT, attempts=attempts, on_request=metrics.asked)
        for url in settings.rpc.http
    ]
