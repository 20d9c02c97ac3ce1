"""What people see in the terminal is what was written, and moves nothing there."""

from __future__ import annotations

import pytest

from sartor.cli.app import tell
from sartor.console import Lines, console, escape
from sartor.evaluation.compare import Difference

HOSTILE = "a\x1b[31mb\x1b]0;title\x07c\x9b2Jd\u202ee\x08f [red]g[/red]\tend"
SHOWN = "a\ufffd[31mb\ufffd]0;title\ufffdc\ufffd2Jd\ufffde\ufffdf [red]g[/red]"


def test_control_characters_of_answers_are_shown_and_do_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(HOSTILE)
    Lines().say(HOSTILE)
    console().print(escape(HOSTILE))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(SHOWN) for line in lines)


def test_a_comparison_is_told_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from sartor.console import print_difference

    print_difference(
        Difference("a\x1b[2J", "b", "own\x07", 0.1, 0.05, 0.15, 0.01, 40, "better", None, 0.03)
    )
    said = capsys.readouterr().err
    assert "is better than b" in said
    assert not {"\x1b", "\x07"} & set(said)
