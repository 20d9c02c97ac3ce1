"""`seeds` of a candidate: the same technique and settings, each time with another seed."""

from __future__ import annotations

from typing import Any

import pytest

from sartor.crossing import crossed
from sartor.errors import ProjectError, SettingError
from sartor.project import ProjectFile, parse
from sartor.trial import Trial


def of(candidate: dict[str, Any]) -> ProjectFile:
    plain = {"data": {"examples": ["e.jsonl"]}, "customize": {"candidates": [candidate]}}
    return parse(plain, "sartor.toml")


def test_each_seed_is_the_same_candidate_but_for_its_seed() -> None:
    [one_base] = crossed(of({"technique": "lora", "rank": 4, "seeds": [3, 7]}))
    candidate = one_base.candidate
    assert candidate.seeds == (3, 7)
    trial = Trial.of(one_base, {"lora": {"seed": 5, "epochs": 2.0}}, 0)
    ones = [trial.seeded(seed) for seed in candidate.seeds]
    assert [one.name for one in ones] == ["lora.seed3", "lora.seed7"]
    assert [one.settings["seed"] for one in ones] == [3, 7]
    for one in ones:
        assert {**one.settings, "seed": 5} == trial.settings
        assert one.candidate.settings == {"rank": 4}
    assert candidate.settings == {"rank": 4}


def test_a_technique_without_a_seed_takes_no_seeds() -> None:
    [candidate] = crossed(of({"technique": "zero-shot", "seeds": [0, 1]}))
    with pytest.raises(SettingError, match="zero-shot takes no seed"):
        Trial.of(candidate, {}, 0).seeded(0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"seeds": [1, 1]}, "seeds has one twice"),
        ({"seeds": [1, 2], "seed": 3}, "has both seed and seeds"),
        ({"seeds": [-1]}, "seeds"),
    ],
)
def test_seeds_that_make_no_sense_are_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ProjectError, match=said):
        of({"technique": "lora", **more})
