"""`python -m chaos`."""

import signal
import sys

from chaos.cli import cli

# Told to stop, a run takes its pods with it.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
cli()
