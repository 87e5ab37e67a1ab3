"""How one finds the worker of a pod and speaks to it: pid files, commands and their exit codes, signals."""

import os
import signal
import subprocess
import sys

import orjson

from chaos.eventually import eventually
from tests.support.fleet import Fleet

NO_WORKER = 3


def test_stop_waits_for_the_end(fleet: Fleet) -> None:
    pod = fleet.start()
    jid = fleet.enqueue("gated", "end")
    fleet.started(jid)
    result = fleet.command("stop", "--pidfile", str(pod.pidfile), "--wait", "0.3")
    assert result.code == 1
    assert "1 of 1 workers have not ended after 0.3 s (1 jobs)" in result.error
    assert orjson.loads(pod.pidfile.read_bytes()) == {"pid": pod.pid, "state": "stopping", "busy": 1}
    fleet.open("end")
    # Telling it a second time cuts the time short; the job has ended by then or goes back, and the worker ends.
    fleet.done([jid])
    assert fleet.command("stop", "--pidfile", str(pod.pidfile), "--wait", "5").code in (0, NO_WORKER)
    assert pod.wait() == 0


def test_stop_without_wait_returns_at_once(fleet: Fleet) -> None:
    pod = fleet.start()
    fleet.started(fleet.enqueue("gated", "end"))
    assert fleet.command("stop", "--pidfile", str(pod.pidfile)).code == 0
    assert pod.running()
    fleet.open("end")
    assert pod.wait() == 0


def test_without_a_worker_the_code_is_3(fleet: Fleet) -> None:
    for command in ("quiet", "stop"):
        result = fleet.command(command, "--wait", "5")
        assert (result.code, result.error) == (NO_WORKER, "reliq: no worker is running\n")
        result = fleet.command(command, "--pidfile", str(fleet.directory / "none.pid"))
        assert result.code == NO_WORKER
        assert "none.pid" in result.error


def test_a_pid_file_that_a_killed_worker_left_behind_harms_nobody(fleet: Fleet) -> None:
    """Its number may be another program's by now: the lock says that nobody holds the file."""
    pod = fleet.start()
    pod.kill()
    assert orjson.loads(pod.pidfile.read_bytes())["pid"] == pod.pid
    bystander = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        pod.pidfile.write_bytes(orjson.dumps({"pid": bystander.pid, "state": "running", "busy": 0}).ljust(100))
        for command in ("quiet", "stop"):
            assert fleet.command(command, "--pidfile", str(pod.pidfile), "--wait", "5").code == NO_WORKER
        assert bystander.poll() is None
        # And a new worker may take it over.
        again = fleet.start(options=["--pidfile", str(pod.pidfile)], pidfile=False)
        assert orjson.loads(pod.pidfile.read_bytes())["pid"] == again.pid
        assert fleet.command("stop", "--pidfile", str(pod.pidfile), "--wait", "5").code == 0
        assert again.wait() == 0
    finally:
        bystander.kill()
        bystander.wait()


def test_two_workers_do_not_share_a_pid_file(fleet: Fleet) -> None:
    pod = fleet.start()
    second = fleet.start(options=["--pidfile", str(pod.pidfile)], pidfile=False, wait=False)
    assert second.wait() == 2
    assert second.log.splitlines() == [
        f"reliq: --pidfile {pod.pidfile}: another worker runs with it; give this one its own"
    ]
    assert pod.running()


def test_without_a_pid_file_all_workers_of_the_user_are_meant(fleet: Fleet) -> None:
    pods = [fleet.start(pidfile=False) for _ in range(2)]
    jid = fleet.enqueue("gated", "end")
    fleet.started(jid)
    result = fleet.command("quiet", "--wait", "0.2")
    assert result.code == 1
    assert "1 of 2 workers still run jobs" in result.error
    fleet.open("end")
    fleet.done([jid])
    assert fleet.command("quiet", "--wait", "5").code == 0
    later = fleet.enqueue("quick")
    assert fleet.command("stop", "--wait", "5").code == 0
    assert [pod.wait() for pod in pods] == [0, 0]
    assert fleet.jids("queue:default") == [later]
    assert fleet.command("stop").code == NO_WORKER


def test_ttin_writes_what_every_thread_and_task_does(fleet: Fleet) -> None:
    pod = fleet.start(concurrency=3)
    sync, task = fleet.enqueue("gated", "end"), fleet.enqueue("patient", 60)
    fleet.started(sync)
    fleet.started(task)
    pod.signal(signal.SIGTTIN)
    eventually(lambda: pod.logged("stacks of process"))
    eventually(lambda: pod.logged(f"runs gated {sync}"))
    eventually(lambda: pod.logged(f"runs patient {task}"))
    eventually(lambda: pod.logged("task "))
    assert pod.logged("wait_for_gate")
    assert "jobs.py" in pod.log[pod.log.index("task ") :], "the coroutine's own line is shown"
    fleet.open("end")
    fleet.done([sync])
    assert pod.running()


def test_term_to_a_worker_process_itself_ends_that_one(fleet: Fleet) -> None:
    pod = fleet.start(processes=2, concurrency=1)
    jid = fleet.enqueue("gated", "end")
    fleet.started(jid)
    [run] = fleet.ledger.started(jid)
    os.kill(run.pid, signal.SIGTERM)
    eventually(lambda: fleet.entries()[run.identity].get("stopping"))
    fleet.open("end")
    fleet.done([jid])
    eventually(lambda: run.pid not in pod.workers())
    pod.ready(2)
    assert fleet.ledger.repeated() == {}
    assert fleet.client.hlen("crashes") == 0


def test_int_and_tstp_to_the_whole_group_are_the_supervisors_business(fleet: Fleet) -> None:
    """As a terminal sends them: Ctrl-Z makes the pod quiet, Ctrl-C stops it, and no job is hit."""
    pod = fleet.start(processes=2)
    jid = fleet.enqueue("gated", "end")
    fleet.started(jid)
    os.killpg(pod.pid, signal.SIGTSTP)
    eventually(lambda: pod.logged("quiet:"))
    os.killpg(pod.pid, signal.SIGINT)
    eventually(lambda: pod.logged("stopping:"))
    fleet.open("end")
    assert pod.wait() == 0
    assert fleet.ledger.done([jid])
    assert fleet.ledger.repeated() == {}
    assert fleet.stat("failed") == 0
