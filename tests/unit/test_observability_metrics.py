from __future__ import annotations

import pytest

from chimera.observability.metrics import CONTENT_TYPE, Metrics

PROMISED = [
    "chimera_head_block",
    "chimera_processed_block",
    "chimera_head_to_decision_seconds_bucket",
    "chimera_block_to_decision_seconds_bucket",
    "chimera_event_to_cache_seconds_bucket",
    'chimera_rpc_requests_total{endpoint="e",method="m",purpose="p"}',
    "chimera_rpc_requests_per_block_bucket",
    'chimera_accounts{protocol="aave"}',
    'chimera_unhealthy_accounts{protocol="aave"}',
    "chimera_reorgs_total",
    "chimera_reconnects_total",
    'chimera_mirror_mismatches_total{protocol="aave"}',
    "chimera_redis_connected",
]


def rendered(metrics: Metrics) -> list[str]:
    return metrics.render().decode().splitlines()


@pytest.mark.parametrize("name", PROMISED)
def test_every_promised_series_is_there(name: str) -> None:
    metrics = Metrics()
    metrics.follow(["aave"])
    metrics.asked("e", "m", "p")

    assert any(line.startswith((f"{name} ", f"{name}{{")) for line in rendered(metrics))


def test_all_names_begin_with_chimera() -> None:
    metrics = Metrics()
    metrics.follow(["aave"])
    samples = [line for line in rendered(metrics) if line and not line.startswith("#")]

    assert samples
    assert [line for line in samples if not line.startswith("chimera_")] == []


def test_a_fault_shows_as_a_rise_from_zero() -> None:
    metrics = Metrics()
    metrics.follow(["aave"])
    assert 'chimera_mirror_mismatches_total{protocol="aave"} 0.0' in rendered(metrics)

    metrics.mirror_mismatches.labels("aave").inc(2)

    assert 'chimera_mirror_mismatches_total{protocol="aave"} 2.0' in rendered(metrics)


def test_a_decision_within_a_millisecond_is_told_from_one_of_seconds() -> None:
    metrics = Metrics()
    metrics.head_to_decision.observe(0.0007)
    metrics.head_to_decision.observe(4.2)

    lines = rendered(metrics)

    assert 'chimera_head_to_decision_seconds_bucket{le="0.0005"} 0.0' in lines
    assert 'chimera_head_to_decision_seconds_bucket{le="0.001"} 1.0' in lines
    assert 'chimera_head_to_decision_seconds_bucket{le="5.0"} 2.0' in lines


def test_two_daemons_in_one_process_do_not_share_figures() -> None:
    one, other = Metrics(), Metrics()
    one.reorgs.inc()

    assert "chimera_reorgs_total 1.0" in rendered(one)
    assert "chimera_reorgs_total 0.0" in rendered(other)


def test_the_format_is_the_text_format() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_a_block_counts_the_requests_that_were_made_for_it_and_no_others() -> None:
    metrics = Metrics()
    for purpose in ("logs", "readings", "reconcile", "probe", "backfill"):
        metrics.asked("e", "m", purpose)
    metrics.sealed()
    metrics.sealed()

    lines = rendered(metrics)

    assert "chimera_rpc_requests_per_block_sum 2.0" in lines
    assert "chimera_rpc_requests_per_block_count 2.0" in lines
    assert 'chimera_rpc_requests_per_block_bucket{le="1.0"} 1.0' in lines
