"""Scale: how much work there is, and how much room. The one place where that is added up.

A job counts as long as anybody must do something for it: waiting in a queue that is not paused, in quarantine, held
by a process that is alive or dead, or due without having been moved to its queue, for which it takes a worker, too. So
it is never 0 while work is in flight, and 0 is a good reason to run no worker at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import attrs

from reliq.store.paces import Ran
from reliq.survey import ProcessState, QueueState, Survey


@attrs.frozen(kw_only=True)
class Scale:
    """What a scaler asks for. `jobs` is `ready` and `in_flight` together.

    `oldest_seconds` is the age of the oldest job that waits, 0 when none does. `work_seconds` is how long one thread
    would need for all of it, by the run times seen lately; None when nothing is known of any of these jobs.
    `idle_slots` are threads that could begin a job now, in `processes` living ones.
    """

    jobs: int
    ready: int
    in_flight: int
    oldest_seconds: float
    work_seconds: float | None
    idle_slots: int
    processes: int


def scale_of(survey: Survey, names: Collection[str] | None = None) -> Scale:
    """Return the scale of these queues, of all if None.

    Due jobs count in every answer: any worker moves them, whatever queues they are for.
    """
    queues = [queue for queue in survey.queues if names is None or queue.name in names]
    processes = [
        process for process in survey.processes if names is None or not set(names).isdisjoint(process.entry.queues)
    ]
    open_ended = sum(process.busy for process in processes if not process.entry.superfetch)
    ready = survey.due + sum(map(_ready, queues))
    in_flight = open_ended + sum(map(_in_flight, queues))
    return Scale(
        jobs=ready + in_flight,
        ready=ready,
        in_flight=in_flight,
        oldest_seconds=max((queue.oldest or 0.0 for queue in queues if not queue.paused), default=0.0),
        work_seconds=_work(queues, survey.queues, elsewhere=survey.due + open_ended),
        idle_slots=sum(process.idle for process in processes),
        processes=_count(processes),
    )


def _ready(queue: QueueState) -> int:
    return 0 if queue.paused else queue.waiting + queue.quarantined


def _in_flight(queue: QueueState) -> int:
    return queue.held + queue.orphaned


def _count(processes: Iterable[ProcessState]) -> int:
    return sum(process.works for process in processes)


def _work(queues: Iterable[QueueState], known: Iterable[QueueState], elsewhere: int) -> float | None:
    """Sum up jobs times mean run time; `elsewhere` are jobs of which the queue is not known."""
    ran = [queue.ran for queue in known]
    usual = Ran(sum(one.runs for one in ran), sum(one.seconds for one in ran)).mean
    work = 0.0
    for jobs, mean in [(elsewhere, usual), *((_ready(queue) + _in_flight(queue), queue.ran.mean) for queue in queues)]:
        if jobs:
            each = usual if mean is None else mean
            if each is None:
                return None
            work += jobs * each
    return work
