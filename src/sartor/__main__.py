"""`sartor` and `python -m sartor`: the command line, and how Ctrl-C ends it from the start.

What is imported before `main` takes milliseconds; verbs and their libraries are imported in it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time

PATIENCE = 2.0
"""Seconds in which pressing Ctrl-C again changes nothing: what was stopped is cleaning up."""
STOPPED = 130
"""As shells have it: 128 and the signal's number."""


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, whenever and how often it comes."""
    # Not where a script started it with `&`: a shell has such a command ignore Ctrl-C.
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:
        signal.signal(signal.SIGINT, Interrupts())
        # Registered first, so called last: at Python's very end no handler is called.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    try:
        from sartor.cli import main as command_line

        command_line()
    except KeyboardInterrupt:  # while imports go on; a verb's own is told in cli/app.py
        _tell()
        raise SystemExit(STOPPED) from None
    except SystemExit as end:
        # While words are parsed, typer makes its own Exit of Ctrl-C, and says nothing.
        if end.__context__ and isinstance(end.__context__.__cause__, KeyboardInterrupt):
            _tell()
        raise
    finally:
        if heard:
            signal.signal(signal.SIGINT, _leave)


def _tell() -> None:
    print("\nstopped", file=sys.stderr)


class Interrupts:
    """Stops what goes on, as Python does, but once for all that come close together."""

    def __init__(self) -> None:
        self._last = -PATIENCE

    def __call__(self, *_: object) -> None:
        now = time.monotonic()
        if now - self._last >= PATIENCE:
            self._last = now
            raise KeyboardInterrupt


def _leave(*_: object) -> None:
    """All is done but for what Python itself and libraries have to put away."""
    os._exit(STOPPED)


if __name__ == "__main__":
    main()
