"""reliq.server.pace: estimates of run times, and what fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliq.server.pace import MOST, NAMES, OVERHEAD, PATIENCE, Pace

PREFETCH = 0.005


def taught(threads: int = 1, **seconds: float) -> Pace:
    """One queue, whose jobs have run so long."""
    pace = Pace(1, threads)
    for name, one in seconds.items():
        pace.learn(name.encode(), one)
        pace.expect(name.encode(), 0)
    return pace


def test_nothing_is_known_of_a_new_name() -> None:
    pace = Pace(1, 10)
    assert pace.expect(b"new", 0) == 1.0
    assert pace.ahead(0, PREFETCH) == 0


def test_a_flood_of_names_is_not_remembered() -> None:
    pace = Pace(1, 1)
    for number in range(NAMES + 10):
        pace.learn(b"%d" % number, 0.25)
    assert pace.expect(b"%d" % (NAMES - 1), 0) == 0.25
    assert pace.expect(b"%d" % NAMES, 0) == 1.0


@pytest.mark.parametrize(
    ("seconds", "threads", "jobs"),
    [(0.0, 1, 499), (0.001, 1, 4), (0.01, 1, 0), (0.01, 50, 23), (0.04, 50, 6), (PATIENCE, 1000, 0), (1.0, 1000, 0)],
)
def test_as_many_as_all_threads_get_through(seconds: float, threads: int, jobs: int) -> None:
    assert taught(threads, work=seconds).ahead(0, PREFETCH) == jobs


def test_no_time_no_jobs() -> None:
    assert taught(work=0.0).ahead(0, 0.0) == 0
    assert taught(work=0.0).ahead(0, -1.0) == 0


def test_a_thread_that_had_to_wait_says_little_about_the_job() -> None:
    pace = taught(work=5e-6)
    pace.learn(b"work", 0.01)
    assert pace.expect(b"work", 0) < 50e-6


def test_a_job_that_has_become_slow_is_found_out() -> None:
    pace = taught(work=5e-6)
    for _ in range(60):
        pace.learn(b"work", 1.0)
    assert pace.expect(b"work", 0) > 0.5


def test_a_job_that_has_become_quick_is_found_out() -> None:
    pace = taught(work=1.0)
    for _ in range(150):
        pace.learn(b"work", 5e-6)
        pace.expect(b"work", 0)
    assert pace.ahead(0, PREFETCH) > 100


def test_slow_jobs_among_quick_ones_keep_a_queue_from_being_claimed_ahead() -> None:
    pace = taught(quick=5e-6, slow=1.0)
    for _ in range(20):
        pace.expect(b"quick", 0)
        pace.expect(b"slow", 0)
    assert pace.ahead(0, PREFETCH) == 0


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50), st.floats(0, 1), st.integers(1, 1000))
def test_what_is_claimed_ahead_fits(times: list[float], budget: float, threads: int) -> None:
    pace = Pace(1, threads)
    for seconds in times:
        pace.learn(b"work", seconds)
        pace.expect(b"work", 0)
    jobs = pace.ahead(0, budget)
    assert 0 <= jobs <= MOST
    assert pace.wall(jobs * pace.mean(0), jobs) <= budget + OVERHEAD
