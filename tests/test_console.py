"""What people see in the terminal is what was written, and moves nothing there."""

from __future__ import annotations

import pytest

from sartor.checkup import Checkup
from sartor.cli.app import tell
from sartor.console.beforehand import print_checkup
from sartor.console.progress import Lines
from sartor.console.screen import console, escape
from sartor.console.verdict import print_difference
from sartor.evaluation.compare import Difference
from sartor.models.language_model import ModelCard

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
    print_difference(
        Difference("a\x1b[2J", "b", "own\x07", 0.1, 0.05, 0.15, 0.01, 40, "better", None, 0.03)
    )
    said = capsys.readouterr().err
    assert "is better than b" in said
    assert not {"\x1b", "\x07"} & set(said)


def test_a_license_from_a_downloaded_readme_is_shown_and_marks_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = ModelCard("b", "/b", "r", "Llama", 1, 512, "[/bold] mit \x1b[2J[link=http://x]y[/link]")
    counts = dict.fromkeys(("documents", "examples", "train", "validation", "test"), 1)
    dropped = tuple(f"[b]{n}.pdf: has a suffix that sartor cannot read" for n in range(7))
    print_checkup(
        Checkup("p", base, (base,), (), "[USD]", counts, 7, dropped, (), "own", 0.03, 0.1, 8, ())
    )
    said = capsys.readouterr().err
    assert "left out: [b]4.pdf: has a suffix" in said
    assert "left out: 2 more" in said
    assert "license [/bold] mit \ufffd[2J[link=http://x]y[/link]" in said


@pytest.mark.parametrize(
    ("difference", "label_more", "said"),
    [
        (0.0, None, "\n"),
        (0.1, None, "The seeds differ too much for more examples to settle it: train more seeds."),
        (
            0.1,
            1200,
            "About 1,200 more test examples, on new documents where they have any, would "
            "settle it.",
        ),
    ],
)
def test_what_would_settle_a_comparison_is_said(
    difference: float, label_more: int | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_difference(
        Difference("a", "b", "own", difference, -0.2, 0.4, 0.3, 40, "cannot tell", label_more, 0.03)
    )
    assert f"cannot tell a from b. {said}".replace(" \n", "\n") in capsys.readouterr().err


def test_what_was_done_before_has_no_speed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.finish(lines.start("zero-shot: answer test", 24, "answers", 24))
    assert capsys.readouterr().err == "zero-shot: answer test: 24/24 answers · done before\n"
