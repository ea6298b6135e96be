"""Every Prometheus name of the daemon, in one file."""

from __future__ import annotations

import math
from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# Seconds. Work inside the process: from a tenth of a millisecond to one second.
WORK = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
# Seconds. Work that waits for a node or for Redis as well.
ROUND_TRIPS = (*WORK, 2.0, 3.5, 5.0)
REQUESTS = (0, 1, 2, 3, 4, 5, 6, 8, 12, 20, 50)
FOR_BLOCKS = frozenset({"head", "logs", "readings"})  # purposes of requests that a block takes


class Metrics:
    """
    The daemon's metrics on a registry of their own.

    Each attribute is a metric; `app.py` hands its bound methods (`metrics.reorgs.inc`) to the rooms
    that count. The client library appends `_total` to the names of counters.
    """

    def __init__(self) -> None:
        # A `_created` series beside each counter tells nobody anything.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._asked = 0  # for blocks, since the newest one was sealed
        ProcessCollector(namespace="chimera", registry=self.registry)
        self._add_chain()
        self._add_endpoints()
        self._add_mirror()
        self._add_reconciling()
        self._add_edges()

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def follow(self, protocols: Iterable[str]) -> None:
        """Begin the series of these protocols at zero, so that a first fault shows as a rise."""
        for name in protocols:
            self.accounts.labels(name)
            self.borrowers.labels(name)
            self.unhealthy_accounts.labels(name)
            self.mirror_mismatches.labels(name)
            self.reconciled_accounts.labels(name)

    def asked(self, endpoint: str, method: str, purpose: str) -> None:
        """Count a JSON-RPC request that goes out."""
        self.rpc_requests.labels(endpoint, method, purpose).inc()
        self._asked += purpose in FOR_BLOCKS

    def sealed(self) -> None:
        """Note a sealed block: what was asked since the one before was asked for it."""
        self.rpc_requests_per_block.observe(self._asked)
        self._asked = 0

    def _add_chain(self) -> None:
        self.head_block = self._gauge("head_block", "Newest block the node has told us of")
        self.processed_block = self._gauge("processed_block", "Last block that was applied")
        self.complete_up_to_block = self._gauge(
            "complete_up_to_block", "Last block up to which every block was applied without a gap"
        )
        self.complete_since_block = self._gauge(
            "complete_since_block", "Block at which that began: the book was read as a whole there"
        )
        self.blocks = self._counter("blocks", "Blocks applied")
        self.logs = self._counter("logs", "Logs of followed contracts applied")
        self.reorgs = self._counter("reorgs", "Rollbacks of blocks that left the chain")
        self.reorg_depth = self._gauge("reorg_depth_blocks", "Blocks undone by the last rollback")
        self.gap_blocks = self._counter("gap_blocks", "Blocks fetched late to fill a gap")
        self.reconnects = self._counter("reconnects", "Subscriptions opened anew after a loss")
        self.rpc_requests = self._counter(
            "rpc_requests", "JSON-RPC requests sent", "endpoint", "method", "purpose"
        )
        self.rpc_requests_per_block = self._histogram(
            "rpc_requests_per_block", "JSON-RPC requests for one block and its head", REQUESTS
        )
        self.log_differences = self._counter(
            "log_differences", "Blocks whose subscribed logs differ from the sealed", "endpoint"
        )
        self.sequencer_up = self._gauge(
            "sequencer_up", "1: its uptime feed says up, 0: down, NaN: neither, or no feed"
        )
        self.sequencer_up.set(math.nan)
        self.quorum_differences = self._counter(
            "quorum_differences", "Disagreements about a sealed block with this one", "endpoint"
        )
        self.quorum_unchecked = self._counter(
            "quorum_unchecked", "Blocks that no second endpoint could vouch for"
        )

    def _add_endpoints(self) -> None:
        which = ("endpoint", "kind")
        self.endpoint_breaker = self._gauge(
            "endpoint_breaker", "0 closed (in order), 1 half-open, 2 open (left alone)", *which
        )
        self.endpoint_error_rate = self._gauge(
            "endpoint_error_rate", "Moving average of failures, 0 to 1", *which
        )
        self.endpoint_latency = self._gauge(
            "endpoint_latency_seconds", "Moving average of the time until an answer", *which
        )
        self.endpoint_head_age = self._gauge(
            "endpoint_head_age_seconds", "Time since its newest block was made", *which
        )
        self.endpoint_lag = self._gauge(
            "endpoint_lag_blocks", "Blocks behind the best endpoint of its kind", *which
        )

    def _add_mirror(self) -> None:
        self.head_to_decision = self._histogram(
            "head_to_decision_seconds", "From a head's arrival to the decision", ROUND_TRIPS
        )
        self.block_to_decision = self._histogram(
            "block_to_decision_seconds", "From the sealed batch to the decision", WORK
        )
        self.event_to_cache = self._histogram(
            "event_to_cache_seconds", "From a head's arrival to its accounts in Redis", ROUND_TRIPS
        )
        self.accounts = self._gauge("accounts", "Accounts in the book", "protocol")
        self.borrowers = self._gauge("borrowers", "Accounts with debt", "protocol")
        self.unhealthy_accounts = self._gauge(
            "unhealthy_accounts", "Accounts with a health factor under 1", "protocol"
        )
        self.opportunities_open = self._gauge("opportunities_open", "Flagged accounts, open")
        self.flags = self._counter("flags", "Episodes opened and closed", "protocol", "state")
        self.mirror_mismatches = self._counter(
            "mirror_mismatches", "Accounts that differed from the contract's own view", "protocol"
        )
        self.rebuilds = self._counter("rebuilds", "Times the book was read anew", "cause")

    def _add_reconciling(self) -> None:
        self.reconciled_accounts = self._counter(
            "reconciled_accounts", "Accounts compared with the contract's own view", "protocol"
        )
        self.reconciled_block = self._gauge(
            "reconciled_block", "Newest block at which accounts were compared", "protocol"
        )
        self.reconcile_age = self._gauge(
            "reconcile_age_seconds", "Time since every account had been compared"
        )
        self.reconcile_skipped = self._counter(
            "reconcile_skipped", "Samples that could not be compared at their block"
        )
        self.markets_unverified = self._gauge(
            "markets_unverified", "Markets in quarantine, whose flags are held back"
        )
        self.cache_mismatches = self._counter(
            "cache_mismatches", "Cached positions that were not the book's", "fault"
        )

    def _add_edges(self) -> None:
        self.protocols_left_out = self._gauge(
            "protocols_left_out", "Configured protocols that are not followed any more"
        )
        self.degraded = self._gauge("degraded", "1 while this degrades the daemon", "reason")
        self.alerts = self._counter("alerts", "Alerts sent about a fault", "reason")
        self.ready = self._gauge("ready", "1 when caught up with the newest head")
        self.redis_connected = self._gauge("redis_connected", "1 when Redis answers")
        self.cache_dropped = self._counter("cache_dropped", "Cache writes given up")
        self.cache_pending = self._gauge("cache_pending", "Positions waiting to go to Redis")
        self.history_pending = self._gauge("history_pending", "Writes waiting for the database")
        self.history_failures = self._counter("history_failures", "Writes that the database failed")
        self.history_dropped = self._counter(
            "history_dropped", "Episodes given up because too many waited for the database"
        )
        self.flags_pending = self._gauge("flags_pending", "Flags waiting to go to the stream")
        self.flags_dropped = self._counter(
            "flags_dropped", "Flags given up because too many waited for Redis"
        )
        self.http_requests = self._counter("http_requests", "HTTP requests", "route", "status")
        self.http_seconds = self._histogram("http_seconds", "Time in a handler", WORK, "route")

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"chimera_{name}", about, labels, registry=self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"chimera_{name}", about, labels, registry=self.registry)

    def _histogram(
        self, name: str, about: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"chimera_{name}", about, labels, buckets=buckets, registry=self.registry)
