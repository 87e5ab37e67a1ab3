"""lease.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import ID, OTHER, Case, Expiring, Stage, table

KEYS = Keyspace()
USUAL = {"lease": KEYS.lease("promote"), "counter": KEYS.lease_number("promote"), "owner": ID, "lease_ms": 5000}

CASES = [
    Case(
        "nobody leads: the first leadership",
        before={},
        reply=1,
        after={"lease:promote": Expiring(ID, 5000), "lease:promote:number": "1"},
    ),
    Case(
        "nobody leads any more: the next number, and the counter has no expiry",
        before={"lease:promote:number": Expiring("6", 500)},
        reply=7,
        after={"lease:promote": Expiring(ID, 5000), "lease:promote:number": "7"},
    ),
    Case(
        "the leader renews and keeps its number",
        before={"lease:promote": Expiring(ID, 500), "lease:promote:number": "7"},
        reply=7,
        after={"lease:promote": Expiring(ID, 5000), "lease:promote:number": "7"},
    ),
    Case(
        "another one leads, and its lease is not touched",
        before={"lease:promote": Expiring(OTHER, 3000), "lease:promote:number": "7"},
        reply=0,
    ),
]


@table(CASES)
def test_lease(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.lease, USUAL, full=full)
