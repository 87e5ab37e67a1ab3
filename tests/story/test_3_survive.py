"""Third part: what happens to jobs when workers are killed, and when they are stopped."""

import os
import re
import signal

from chaos.eventually import eventually
from tests.story.conftest import Shop, waiting
from tests.story.shop import pack, welcome


def begun_in(line: str) -> int:
    """The process that wrote a `begin` line."""
    found = re.search(r"process (\d+)$", line)
    assert found, line
    return int(found.group(1))


def test_a_job_survives_kill_9_of_its_process(shop: Shop) -> None:
    """Its supervisor sees the death and hands the job to another process: the same attempt, one crash on record."""
    pack.enqueue(shop.book, "vase", shop.door)
    shop.worker()
    shop.wait_for("begin vase, attempt 1, crashes 0")
    victim = begun_in(shop.lines()[0])
    os.kill(victim, signal.SIGKILL)
    shop.wait_for("begin vase, attempt 1, crashes 1")
    shop.open_door()
    shop.wait_for("end vase")
    shop.settled(processed=1, failed=0)
    assert [line.split()[0] for line in shop.lines()] == ["begin", "begin", "end"]


def test_jobs_survive_kill_9_of_a_whole_pod(shop: Shop) -> None:
    """Supervisor and all. Another pod notices, without being told, and runs what was left behind."""
    doomed = shop.worker(concurrency=2)
    for parcel in ("vase", "lamp", "book"):
        pack.enqueue(shop.book, parcel, shop.door)
    shop.wait_for("begin vase", "begin lamp")
    shop.worker(concurrency=2)
    doomed.kill()
    shop.open_door()
    shop.wait_for("end vase", "end lamp", "end book")
    shop.settled(processed=3, failed=0)
    assert sum(line.startswith("end") for line in shop.lines()) == 3


def test_jobs_wait_for_a_worker_when_nobody_lives(shop: Shop) -> None:
    """After the last pod has died its jobs lie in Redis until somebody comes, and then run."""
    pod = shop.worker()
    pack.enqueue(shop.book, "vase", shop.door)
    shop.wait_for("begin vase")
    pod.kill()
    shop.open_door()
    assert shop.lines()[-1].startswith("begin")
    shop.worker()
    shop.wait_for("end vase")


def test_a_reaper_of_its_own_brings_jobs_back(shop: Shop) -> None:
    """`reliq reaper` runs no jobs; it only returns those of the dead to their queues."""
    pod = shop.worker()
    pack.enqueue(shop.book, "vase", shop.door)
    shop.wait_for("begin vase")
    pod.kill()
    reaper = shop.fleet.begin("reaper", "--url", shop.fleet.url)
    eventually(lambda: shop.waiting() == {"default": 1}, 15.0, "the job is back")
    reaper.terminate()
    assert reaper.wait(10) == 0
    reaper.communicate()


def test_stop_lets_jobs_finish(shop: Shop) -> None:
    """`reliq stop --wait` returns when the worker has ended; what ran has finished, what waited still waits."""
    pod = shop.worker(concurrency=1)
    pack.enqueue(shop.book, "vase", shop.door)
    shop.wait_for("begin vase")
    welcome.enqueue(shop.book, "Ada")
    stop = shop.fleet.begin("stop", "--wait", "20", "--pidfile", str(pod.pidfile))
    eventually(lambda: shop.status()["processes"][0]["stopping"], 20.0, "the worker is told")
    shop.open_door()
    stop.communicate(timeout=20)
    assert stop.returncode == 0
    assert not pod.running()
    assert shop.lines()[1:] == ["end vase"]
    status = shop.status()
    assert waiting(status) == {"default": 1}
    assert (status["processed"], status["failed"], status["processes"]) == (1, 0, [])


def test_stop_hands_back_what_does_not_finish(shop: Shop) -> None:
    """After `--timeout` the job is interrupted. It goes back to the front: no failure, no crash, no attempt used."""
    pack.enqueue(shop.book, "vase", shop.door)
    welcome.enqueue(shop.book, "Ada")
    shop.worker(concurrency=1, options=["--timeout", "0.1"])
    shop.wait_for("begin vase")
    shop.reliq("stop", "--wait", "10")
    assert shop.lines()[1:] == ["JobInterrupted in vase"]
    assert waiting(shop.settled(processed=0, failed=0, retries=0)) == {"default": 2}
    shop.open_door()
    shop.worker(concurrency=1)
    shop.wait_for("begin vase, attempt 1, crashes 0", "end vase", "welcome Ada")
    assert shop.lines()[-1] == "welcome Ada (plain)"


def test_a_quiet_worker_finishes_and_takes_nothing_new(shop: Shop) -> None:
    """The first half of a deploy: `reliq quiet --wait` returns when nothing runs any more."""
    pod = shop.worker()
    pack.enqueue(shop.book, "vase", shop.door)
    shop.wait_for("begin vase")
    quiet = shop.fleet.begin("quiet", "--wait", "20", "--pidfile", str(pod.pidfile))
    eventually(lambda: pod.logged("quiet: no more jobs are claimed"), 20.0, "the worker is told")
    assert quiet.poll() is None
    shop.open_door()
    quiet.communicate(timeout=20)
    assert quiet.returncode == 0
    assert shop.lines()[1:] == ["end vase"]
    welcome.enqueue(shop.book, "Ada")
    assert waiting(shop.status()) == {"default": 1}
    assert pod.running()
    assert pod.stop_and_wait() == 0


def test_without_superfetch_a_killed_job_is_lost(shop: Shop) -> None:
    """The other way, for those who ask for it: what plain BRPOP has taken exists in one memory only."""
    pod = shop.worker(options=["--no-superfetch"])
    pack.enqueue(shop.book, "vase", shop.door)
    shop.wait_for("begin vase")
    pod.kill()
    shop.worker()
    welcome.enqueue(shop.book, "Ada")
    shop.wait_for("welcome Ada")
    status = shop.settled(processed=1)
    assert (waiting(status), status["retries"], status["dead"]) == ({"default": 0}, 0, 0)
    assert not [line for line in shop.lines() if line.startswith("end")]
