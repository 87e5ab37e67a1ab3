"""`--no-superfetch`: plain BRPOP, and honest about what that loses."""

from chaos.eventually import eventually
from tests.support.fleet import Fleet

PLAIN = ["--no-superfetch"]


def test_it_runs_jobs_and_says_what_it_is(fleet: Fleet) -> None:
    pod = fleet.start(processes=2, options=PLAIN, queues=("default", "other"))
    assert pod.logged("jobs that run when a process dies are lost")
    jids = [fleet.enqueue("quick", n, queue=queue) for n in range(50) for queue in ("default", "other")]
    failing = fleet.enqueue("fail", retry=1)
    fleet.done(jids)
    eventually(lambda: fleet.jids("retry") == [failing])
    fleet.make_due()
    eventually(lambda: fleet.jids("dead") == [failing])
    assert fleet.ledger.repeated().keys() == {failing}
    eventually(lambda: fleet.stat("processed") == 102)
    assert fleet.stat("failed") == 2


def test_a_kill_loses_the_job_and_nothing_else(fleet: Fleet) -> None:
    """As documented: this is why it is not the default."""
    pod = fleet.start(concurrency=1, options=PLAIN)
    jid = fleet.enqueue("gated", "end")
    fleet.started(jid)
    waiting = [fleet.enqueue("quick", n) for n in range(5)]
    pod.kill_worker()
    fleet.done(waiting)
    fleet.open("end")
    assert len(fleet.ledger.started(jid)) == 1
    assert fleet.ledger.finished(jid) == []
    assert fleet.client.exists("queue:default", "retry", "dead", "schedule") == 0
    assert fleet.lists("private:*") == {}


def test_a_graceful_stop_loses_nothing(fleet: Fleet) -> None:
    pod = fleet.start(
        concurrency=3, options=PLAIN, processes=2, environment={"RELIQ_TIMEOUT": "0.2", "RELIQ_GRACE": "0.5"}
    )
    jids = [fleet.enqueue("slow", 0.05 * (n % 20), n) for n in range(30)] + [fleet.enqueue("gated", "end")]
    eventually(lambda: len(fleet.ledger.events("finish")) > 5)
    assert pod.stop_and_wait() == 0
    fleet.open("end")
    fleet.start(options=PLAIN)
    fleet.done(jids)
    assert fleet.ledger.unexplained(lambda run: False) == []
    assert fleet.client.exists("retry", "dead") == 0
    eventually(lambda: fleet.stat("processed") == len(jids))


def test_a_doorbell_that_rings_while_it_stops_is_answered(fleet: Fleet) -> None:
    """What a BRPOP brings at the last moment exists nowhere else."""
    for _ in range(2):
        pod = fleet.start(concurrency=2, options=PLAIN)
        jids = [fleet.enqueue("quick", n) for n in range(10)]
        pod.stop()
        jids += [fleet.enqueue("quick", n) for n in range(30)]
        assert pod.wait() == 0
        accounted = set(fleet.jids("queue:default")) | {event.jid for event in fleet.ledger.events("finish")}
        assert set(jids) <= accounted
