"""The program ``normdrop`` as tests start it."""

from __future__ import annotations

import sys

_WITH_SIGINT = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from normdrop.cli.main import main; sys.exit(main())"
)


def interruptible(*arguments: str) -> list[str]:
    """Its command line where Ctrl-C will be sent.

    A job in the background of a script inherits an ignored SIGINT; the child takes it back itself,
    since a function between fork and exec is one that threads of other libraries do not stand.
    """
    return [sys.executable, "-c", _WITH_SIGINT, *arguments]
