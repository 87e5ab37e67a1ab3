"""Becomes another program after it has been put under limits: `python -IS launch.py OPTIONS -- PROGRAM ARGUMENTS...`.

    --cgroup FILE     writes the own process id there: joins a control group, with all its children
    --log FILE        standard output and error go there

The kernel kills it when whoever started it dies, so a run that is killed leaves nothing behind.
"""

import ctypes
import os
import sys
from pathlib import Path


def main(words: list[str]) -> None:
    """Apply the options and go on as the program."""
    end = words.index("--")
    options, program = words[:end], words[end + 1 :]
    for name, value in zip(options[::2], options[1::2], strict=True):
        if name == "--cgroup":
            Path(value).write_text(str(os.getpid()), encoding="ascii")
        elif name == "--log":
            fd = os.open(value, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            os.close(fd)
        else:
            sys.exit(f"launch.py: unknown option {name}")
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG
    os.execvp(program[0], program)  # noqa: S606 - that is what this program is for


if __name__ == "__main__":
    main(sys.argv[1:])
