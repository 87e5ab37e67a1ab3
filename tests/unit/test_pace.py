"""reliq.server.pace: estimates of run times, and what fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliq.server.pace import MOST, OVERHEAD, PATIENCE, Pace

PREFETCH = 0.005


def taught(threads: int = 1, **seconds: float) -> Pace:
    """One queue, whose jobs have run so long."""
    pace = Pace(1, threads)
    for name, one in seconds.items():
        pace.learn(name, one)
        pace.expect(name, 0)
    return pace


def test_nothing_is_known_of_a_new_name() -> None:
    pace = Pace(1, 10)
    assert pace.expect("new", 0) == 1.0
    assert pace.ahead(0, PREFETCH) == 0


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
    pace.learn("work", 0.01)
    assert pace.expect("work", 0) < 50e-6


def test_a_job_that_has_become_slow_is_found_out() -> None:
    pace = taught(work=5e-6)
    for _ in range(60):
        pace.learn("work", 1.0)
    assert pace.expect("work", 0) > 0.5


def test_a_job_that_has_become_quick_is_found_out() -> None:
    pace = taught(work=1.0)
    for _ in range(150):
        pace.learn("work", 5e-6)
        pace.expect("work", 0)
    assert pace.ahead(0, PREFETCH) > 100


def test_slow_jobs_among_quick_ones_keep_a_queue_from_being_claimed_ahead() -> None:
    pace = taught(quick=5e-6, slow=1.0)
    for _ in range(20):
        pace.expect("quick", 0)
        pace.expect("slow", 0)
    assert pace.ahead(0, PREFETCH) == 0


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50), st.floats(0, 1), st.integers(1, 1000))
def test_what_is_claimed_ahead_fits(times: list[float], budget: float, threads: int) -> None:
    pace = Pace(1, threads)
    for seconds in times:
        pace.learn("work", seconds)
        pace.expect("work", 0)
    jobs = pace.ahead(0, budget)
    assert 0 <= jobs <= MOST
    assert pace.wall(jobs * pace.mean(0), jobs) <= budget + OVERHEAD
