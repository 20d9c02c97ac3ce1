"""The command line: verbs, each one call."""

from __future__ import annotations

import os
import sys

from sartor.cli import answering, choosing, judging, projects
from sartor.cli.app import app, tell

__all__ = ["answering", "app", "choosing", "judging", "main", "projects"]


def _refuse_undecodable(words: list[str]) -> None:
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:  # Python hands on stray bytes as lone surrogates
            tell(f"error: the argument {os.fsencode(word)!r} is not UTF-8. Write it in UTF-8.")
            raise SystemExit(2) from None


def main() -> None:
    """Run the command line."""
    _refuse_undecodable(sys.argv[1:])
    app()
