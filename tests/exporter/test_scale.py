"""reliq.exporter.scale: how much work there is, and how much room."""

from typing import Any

import attrs
import pytest

from reliq.exporter.scale import Scale, scale_of
from reliq.store.paces import Ran
from reliq.store.processes import Entry
from reliq.survey import ProcessState, QueueState, Survey

NOTHING = Survey(
    processed=0, failed=0, trimmed=0, scheduled=0, retries=0, dead=0, due=0, orphans=0, queues=[], processes=[]
)
IDLE = Scale(jobs=0, ready=0, in_flight=0, oldest_seconds=0.0, work_seconds=0.0, idle_slots=0, processes=0)


def queue(name: str = "mail", **state: Any) -> QueueState:
    empty = QueueState(
        name=name, waiting=0, oldest=None, paused=False, held=0, orphaned=0, quarantined=0, ran=Ran(0.0, 0.0)
    )
    return attrs.evolve(empty, **state)


def process(*queues: str, busy: int = 0, alive: bool = True, quiet: bool = False, **fields: Any) -> ProcessState:
    entry = Entry(identity="w:1:0123456789ab", host="w", pid=1, queues=queues, started=1.0, concurrency=4, **fields)
    return ProcessState(entry=entry, alive=alive, quiet=quiet, held=busy, busy=busy)


def survey(*queues: QueueState, processes: tuple[ProcessState, ...] = (), due: int = 0) -> Survey:
    return attrs.evolve(NOTHING, queues=list(queues), processes=list(processes), due=due)


def test_nothing_is_nothing() -> None:
    assert scale_of(NOTHING) == IDLE
    assert scale_of(NOTHING, ["mail"]) == IDLE


@pytest.mark.parametrize(
    ("state", "ready", "in_flight"),
    [
        ({"waiting": 2}, 2, 0),
        ({"held": 1}, 0, 1),
        ({"orphaned": 1}, 0, 1),
        ({"quarantined": 1}, 1, 0),
        ({"waiting": 2, "quarantined": 2, "held": 3, "orphaned": 1, "paused": True}, 0, 4),
    ],
)
def test_whatever_somebody_must_do_something_for_counts(state: dict[str, Any], ready: int, in_flight: int) -> None:
    found = scale_of(survey(queue(**state)))
    assert (found.jobs, found.ready, found.in_flight) == (ready + in_flight, ready, in_flight)


def test_due_jobs_count_everywhere_because_only_a_worker_moves_them() -> None:
    found = survey(queue("mail", waiting=1), queue("low", waiting=5), due=2)
    assert scale_of(found).ready == 8
    assert scale_of(found, ["mail"]).ready == 3
    assert scale_of(found, ["none"]).ready == 2


def test_what_runs_without_a_private_list_is_in_flight() -> None:
    found = survey(queue(), processes=(process("mail", "low", busy=3, superfetch=False), process("mail", busy=1)))
    assert scale_of(found).in_flight == 3
    assert scale_of(found, ["low"]).in_flight == 3
    assert scale_of(found, ["other"]).in_flight == 0


def test_the_oldest_is_of_a_queue_that_may_be_claimed_from() -> None:
    found = survey(
        queue("a", waiting=1, oldest=5.0), queue("b", waiting=1, oldest=9.0, paused=True), queue("c", waiting=1)
    )
    assert scale_of(found).oldest_seconds == 5.0
    assert scale_of(found, ["c"]).oldest_seconds == 0.0


def test_idle_slots_are_those_that_could_take_a_job_of_these_queues() -> None:
    found = survey(
        processes=(
            process("mail", busy=1),
            process("mail", "low", quiet=True),
            process("low", busy=4),
            process("low"),
            process("mail", alive=False),
            process("mail", quarantine=True),
        )
    )
    assert (scale_of(found).idle_slots, scale_of(found).processes) == (7, 4)
    assert (scale_of(found, ["mail"]).idle_slots, scale_of(found, ["mail"]).processes) == (3, 2)
    assert scale_of(found, ["mail", "low"]).idle_slots == 7


# -- seconds of work


def test_work_is_jobs_times_their_queues_mean() -> None:
    found = survey(queue("a", waiting=3, held=1, ran=Ran(2, 1.0)), queue("b", waiting=1, ran=Ran(1, 10.0)))
    assert scale_of(found).work_seconds == 12.0
    assert scale_of(found, ["a"]).work_seconds == 2.0


def test_a_queue_of_which_nothing_is_known_counts_with_the_mean_of_all() -> None:
    found = survey(queue("a", ran=Ran(3, 3.0)), queue("b", ran=Ran(1, 5.0)), queue("new", waiting=2), due=1)
    assert scale_of(found).work_seconds == 6.0
    assert scale_of(found, ["new"]).work_seconds == 6.0


def test_without_any_run_nothing_is_known_of_jobs_and_all_of_no_jobs() -> None:
    assert scale_of(survey(queue(waiting=1))).work_seconds is None
    assert scale_of(survey(queue(), due=1)).work_seconds is None
    assert scale_of(survey(queue(waiting=7, paused=True))).work_seconds == 0.0
