"""`python -m chaos`."""

from chaos.cli import cli

cli()
