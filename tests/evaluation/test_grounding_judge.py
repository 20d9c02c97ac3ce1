"""The accuracy of a served judge on the labelled claims, as users would measure theirs."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.grounding import LABELS, drawn, read
from tests.models.endpoints import KEY, Got, Say, completion, endpoint

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "grounding.py"
HELD = [claim for claim in read() if claim.part == "held-out"]
LIMIT = 60


def test_a_draw_is_of_all_documents_and_a_longer_one_holds_it() -> None:
    few = drawn(HELD, LIMIT)
    assert len({claim.passage for claim in few}) > len({claim.passage for claim in HELD[:LIMIT]})
    assert set(few) <= set(drawn(HELD, 2 * LIMIT))
    assert drawn(HELD, None) == HELD


def careless(got: Got) -> Say:
    """Right about what is supported, takes every contradiction for missing, and does not say what
    a missing one is in the form that was asked for."""
    asked = got.body["messages"][-1]["content"]
    found = re.search(r"<<<(claim \w+)\n(.*)\n\1>>>", asked, re.DOTALL)
    assert found
    label = next(claim.label for claim in HELD if claim.text == found[2])
    if label == "not in passage":
        return Say(body=completion("It is not in the passage."))
    verdict = "supported" if label == "supported" else "not in passage"
    return Say(body=completion(json.dumps({"verdict": verdict})))


def measure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[Any, str]:
    """What it prints, and how it tells of its progress."""
    monkeypatch.setattr(sys, "argv", ["grounding.py", *words])
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    shown = capsys.readouterr()
    return json.loads(shown.out), shown.err


def test_a_served_judge_is_measured_on_the_labelled_claims(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    by_label = {
        label: sum(claim.label == label for claim in drawn(HELD, LIMIT)) for label in LABELS
    }
    with endpoint(careless) as server:
        words = ("--judge", "clever", "--endpoint", server.url, "--key-env", "JUDGE_KEY",
                 "--limit", str(LIMIT), "--kept", str(tmp_path),
                 "--remote", '{"parameters": {"reasoning_effort": "low"}}')  # fmt: skip
        told, progress = measure(monkeypatch, capsys, *words)
        asked = len(server.got)
        assert f"{LIMIT}/{LIMIT} answers" in progress
        assert measure(monkeypatch, capsys, *words)[0] == told
        assert len(server.got) == asked  # nothing is paid for twice
    assert asked == LIMIT
    assert {got.body["model"] for got in server.got} == {"clever"}
    assert {got.body["reasoning_effort"] for got in server.got} == {"low"}
    assert {got.headers["Authorization"] for got in server.got} == {f"Bearer {KEY}"}
    assert told["unread"] == by_label["not in passage"] > 0
    rates = told["supported or not"]
    assert (rates["supported"]["right"], rates["supported"]["n"]) == (1, by_label["supported"])
    assert rates["contradicted"]["right"] == 1  # it is not supported, whatever else it is
    assert rates["not in passage"]["right"] == 0  # what cannot be read is not right
    right = LIMIT - by_label["not in passage"]
    assert rates["all"]["right"] == pytest.approx(right / LIMIT, abs=1e-4)
    assert rates["all"]["low"] < rates["all"]["right"] < rates["all"]["high"]
    assert told["said of"] == {
        "supported": {"supported": by_label["supported"]},
        "contradicted": {"not in passage": by_label["contradicted"]},
        "not in passage": {"unread": by_label["not in passage"]},
    }
    assert told["label named"] == {"supported": 1, "contradicted": 0, "not in passage": 0}
    assert KEY not in "".join(p.read_text("latin-1") for p in tmp_path.rglob("*") if p.is_file())
