"""`sartor compare` and `sartor evaluate`: any two candidates, and answers made elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.journey.small_shop import Sartor, set_config

from sartor.evaluation import decision_file

KEYS = [
    "a", "b", "n", "difference", "low", "high", "p", "verdict", "label_more", "scorer", "margin",
    "notes",
]  # fmt: skip


def listed_keys() -> tuple[set[str], set[str]]:
    """As decision_file.py lists them: of the file, and of a candidate in it."""
    lines = str(decision_file.__doc__).strip().split("\n")[2:]
    keys = [(line[0] == " ", re.split(" {2,}", line.strip())[0].split(", ")) for line in lines]
    of_file, of_candidate = (
        {key for inner, named in keys for key in named if inner is inside}
        for inside in (False, True)
    )
    return of_file, of_candidate


def test_answers_made_elsewhere_are_one_more_candidate(shop: Path, sartor: Sartor) -> None:
    set_config(shop, 'candidates = ["zero-shot", "rag", "lora"]', 'candidates = ["zero-shot"]')
    set_config(shop, "[techniques.lora]\nlearning_rates = [0.002]\nepochs = 1.0\nrank = 4\n", "")
    where = str(shop)
    early = sartor("evaluate", where)
    assert early.returncode == 2
    assert "not customized yet, or changed since: zero-shot" in early.stderr
    assert sartor("run", where).returncode == 0
    data = (shop / ".sartor/data/test.jsonl").read_text()
    test = [json.loads(line) for line in data.split("\n")[:-1]]
    answers = shop / "elsewhere.jsonl"
    rows = [json.dumps({"id": row["id"], "output": row["targets"][0]}) for row in test]
    answers.write_text("\n".join(rows) + "\n")
    asked_at = {path: path.stat().st_mtime_ns for path in shop.glob(".sartor/answers/*/*.jsonl")}

    (shop / ".sartor/interactions.sqlite").write_text("no database, " * 100)
    given = sartor("evaluate", where, "--predictions", str(answers), "--name", "clerk", "--json")
    assert given.returncode == 0, given.stderr
    assert "interactions.sqlite is not a log of interactions that can be read" in given.stderr
    decision = json.loads(given.stdout)
    rows_by_name = {row["name"]: row for row in decision["candidates"]}
    assert rows_by_name["clerk"]["estimate"]["mean"] == 1
    assert rows_by_name["clerk"]["cost_per_answer"] is None
    assert decision["winner"] == "clerk"
    assert decision["looks"] == 2  # the run, and this
    written = json.loads((shop / ".sartor/decision.json").read_text())
    assert listed_keys() == (set(written), set(written["candidates"][0]))
    html = (shop / "report.html").read_text()
    assert "clerk" in html
    assert "sartor serve" not in html  # nothing of it is here
    assert asked_at == {path: path.stat().st_mtime_ns for path in asked_at}

    told = sartor("compare", where, "clerk", "zero-shot", "--json")
    found = json.loads(told.stdout)
    assert list(found) == KEYS
    assert found["verdict"] == "better"
    assert found["n"] == len(test)
    assert found["difference"] > 0.9
    turned = json.loads(sartor("compare", where, "zero-shot@run1", "clerk", "--json").stdout)
    assert (turned["a"], turned["verdict"]) == ("zero-shot@run1", "worse")
    assert turned["difference"] == -found["difference"]
    released = json.loads(sartor("compare", where, "release:1", "zero-shot", "--json").stdout)
    assert (released["difference"], released["p"]) == (0, 1)

    for words, said in (
        (("compare", where, "clerk", "nobody"), "run 2 had no candidate 'nobody'; it had: zero"),
        (("compare", where, "clerk@run1", "clerk"), "run 1 had no candidate 'clerk'"),
        (("compare", where, "clerk", "zero-shot@run7"), "there is no run 7"),
        (("serve", where), "the winner, clerk, answered elsewhere"),
        (("evaluate", where, "--predictions", str(answers), "--name", "zero-shot"), "already"),
        (("evaluate", where, "--predictions", str(answers), "--name", "../x"), "cannot name"),
    ):
        wrong = sartor(*words)
        assert (wrong.returncode, said in wrong.stderr) == (2, True), wrong.stderr
    again = sartor("evaluate", where)
    assert "nothing has changed since the last run" in again.stderr
