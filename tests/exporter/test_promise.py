"""The promise of the scaling signal, with real workers: it is never 0 while anybody must do something."""

import threading

from chaos.eventually import eventually
from reliq.config import Config
from reliq.exporter.scale import scale_of
from reliq.store.opening import Store
from reliq.survey import Surveyor
from tests.server.conftest import fleet, fleet_on
from tests.support.fleet import Fleet

__all__ = ["fleet", "fleet_on"]


class Watch:
    """Looks at the number of jobs all the time, over a connection of its own."""

    def __init__(self, url: str) -> None:
        self.seen: list[int] = []
        self._store = Store(Config(url=url))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        surveyor = Surveyor(self._store)
        while not self._ended.is_set():
            self.seen.append(scale_of(surveyor.survey(), ["default"]).jobs)
        surveyor.close()

    def __enter__(self) -> list[int]:
        self._thread.start()
        return self.seen

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def test_from_enqueue_through_deaths_and_a_stop_to_the_end(fleet: Fleet) -> None:
    jid = fleet.enqueue("gated", "end")
    with Watch(fleet.url) as seen:
        pod = fleet.start()
        fleet.started(jid)
        pod.kill_worker()
        fleet.started(jid, times=2)
        heir = fleet.start(wait=False, options=("--timeout", "0.1"))
        pod.kill()
        # In quarantine now, after two crashes.
        fleet.started(jid, times=3, within=20)
        assert heir.stop_and_wait() == 0
        fleet.start()
        fleet.started(jid, times=4)
    assert len(seen) > 100
    assert min(seen) == 1
    fleet.open("end")
    fleet.done([jid])
    fleet.drained()
    with Watch(fleet.url) as seen:
        eventually(lambda: len(seen) > 3)
    assert set(seen) == {0}
