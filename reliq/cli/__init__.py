"""The command line. `main` is the program `reliq`."""

from __future__ import annotations

import importlib
import sys

import click

from reliq import __version__
from reliq.cli.common import say_error
from reliq.errors import ConfigError, ReliqError, Unreachable

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 69


COMMANDS = {
    "worker": "reliq.cli.worker",
    "quiet": "reliq.cli.worker",
    "stop": "reliq.cli.worker",
    "reaper": "reliq.cli.worker",
    "exporter": "reliq.cli.exporter",
    "enqueue": "reliq.cli.operate",
    "status": "reliq.cli.operate",
    "queues": "reliq.cli.operate",
    "show": "reliq.cli.show",
    "doctor": "reliq.cli.doctor",
    "demo": "reliq.cli.demo",
    "bench": "reliq.cli.bench",
}


class LazyGroup(click.Group):
    """Imports a command's module when it is asked for: a preStop hook need not wait for the tables of `status`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command, None if there is none of that name."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(module), cmd_name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="reliq")
def cli() -> None:
    """A reliable job queue for Python on Redis.

    Exit codes: 0 done, 1 failed or a deadline passed, 2 wrong usage or settings, 3 no worker found,
    69 Redis cannot be reached.
    """


def main() -> None:
    """Run the command line; every mistake of a user ends in one line and an exit code."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        say_error("interrupted")
        sys.exit(130)
    except Unreachable as error:
        say_error(str(error))
        sys.exit(EXIT_UNREACHABLE)
    except ConfigError as error:
        say_error(str(error))
        sys.exit(EXIT_USAGE)
    except ReliqError as error:
        say_error(str(error))
        sys.exit(EXIT_FAILED)
