"""reliq.backoff: how long to wait."""

import random

import pytest

from reliq.backoff import MAX_RETRIES, reconnect_delay, retry_delay


@pytest.mark.parametrize("count", range(MAX_RETRIES))
def test_a_delay_is_sidekiqs(count: int) -> None:
    delays = [retry_delay(count, random.Random(seed)) for seed in range(200)]
    least = count**4 + 15
    assert all(least <= delay < least + 10 * (count + 1) and delay == int(delay) for delay in delays)
    assert len(set(delays)) > 5


def test_the_jitter_reaches_both_ends() -> None:
    assert {retry_delay(0) for _ in range(1000)} == set(range(15, 25))


def test_all_retries_take_some_20_days() -> None:
    total = sum(retry_delay(count) for count in range(MAX_RETRIES))
    assert 20.40 * 86_400 < total < 20.46 * 86_400


@pytest.mark.parametrize("failures", [1, 2, 3, 6, 7, 50, 10_000])
def test_a_reconnect_doubles_up_to_the_longest(failures: int) -> None:
    most = min(2.0, 0.05 * 2 ** (min(failures, 20) - 1))
    delays = [reconnect_delay(failures, 2.0) for _ in range(200)]
    assert all(0.75 * most <= delay <= most for delay in delays)
    assert len(set(delays)) > 100
