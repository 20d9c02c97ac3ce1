"""`stop_hopeless`: what validation shows to be far behind is not asked the test part."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from statistics import fmean

from tests.journey.small_shop import Sartor, set_config

CLERK = '{ name = "clerk", technique = "tests.journey.clerk:Clerk" }'


def test_a_hopeless_candidate_is_stopped_and_shown_as_stopped(shop: Path, sartor: Sartor) -> None:
    set_config(shop, '"zero-shot", "rag", "lora"', f'{CLERK}, "zero-shot"')
    set_config(shop, "[techniques.lora]\nlearning_rates = [0.002]\nepochs = 1.0\nrank = 4\n", "")
    set_config(shop, "validation_fraction = 0.2", "validation_fraction = 0.5")
    set_config(shop, "max_new_tokens = 8", "max_new_tokens = 8\nstop_hopeless = true")
    ran = sartor("run", str(shop), "--json")
    assert ran.returncode == 0, ran.stderr
    decision = json.loads(ran.stdout)
    rows = {row["name"]: row for row in decision["candidates"]}
    assert decision["winner"] == "clerk"
    stopped = rows["zero-shot"]
    assert stopped["verdict"] == "stopped"
    assert stopped["estimate"] is None
    assert stopped["high"] < -decision["margin"]
    assert "behind, so it was not asked the test part" in stopped["reason"]
    [line] = [line for line in ran.stderr.split("\n") if "zero-shot" in line and "stopped" in line]
    assert "%" not in line  # no score of the test part
    page = (shop / "report.html").read_text()
    assert "not asked the test part" in page
    assert list(shop.glob(".sartor/answers/clerk-*/test.jsonl"))
    assert list(shop.glob(".sartor/answers/zero-shot-*/validation.jsonl"))
    assert not list(shop.glob(".sartor/answers/zero-shot-*/test.jsonl"))

    kept = (shop / ".sartor/reports/clerk.json").read_bytes()
    assert hashlib.sha256(kept).hexdigest()[:16] in page
    scores = [row["scores"]["token_f1"] for row in json.loads(kept)["predictions"]]
    assert fmean(scores) == rows["clerk"]["estimate"]["mean"]  # the number, made again

    again = sartor("run", str(shop))
    assert "nothing has changed since the last run" in again.stderr
    set_config(shop, "stop_hopeless = true", "stop_hopeless = false")
    whole = json.loads(sartor("run", str(shop), "--json").stdout)
    asked = {row["name"]: row for row in whole["candidates"]}
    assert asked["zero-shot"]["verdict"] == "worse"
    assert asked["clerk"]["estimate"] == rows["clerk"]["estimate"]  # the same, stopped or not
