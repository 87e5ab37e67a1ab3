"""`python -m bench`."""

from bench.cli import cli

cli()
