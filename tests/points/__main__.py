"""Plays cases again, and prints what was sent: `python -m tests.points NAME...`, as `claim-by-turn/late/3`."""

import sys

from chaos.servers import Server
from tests.points.paths import PATHS
from tests.points.points import find_blow, play
from tests.points.world import Kit

with Server() as server, server.client(single_connection_client=True) as client:
    for case in sys.argv[1:]:
        path, _, rest = case.partition("/")
        blow, _, number = rest.partition("/")
        if path not in PATHS:
            sys.exit(f"there is no path {path!r}; there are {', '.join(sorted(PATHS))}")
        points = play(Kit(server.url, client), path, find_blow(blow) if blow else None, int(number) if blow else None)
        sys.stdout.write(f"{case}: fine\n" + "".join(f"  {n} {name}\n" for n, (name, _) in enumerate(points.sent)))
