"""A metric of the `evaluate` library, from a folder of the user's: the real library, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sartor.customized import source_digest
from sartor.data.records import Example, Message
from sartor.errors import SettingError
from sartor.evaluation.records import Prediction
from sartor.evaluation.scorers.place import digest_of
from sartor.evaluation.scorers.registry import load_scorer
from sartor.models.language_model import Completion

SCRIPT = '''
import datasets
import evaluate


class Overlap(evaluate.Metric):
    """Percent of the reference's letters that the prediction has, in order from the start."""

    def _info(self):
        return evaluate.MetricInfo(
            description="letters", citation="", inputs_description="",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references, ignore_case=False):
        [said], [wanted] = predictions, references
        if ignore_case:
            said, wanted = said.lower(), wanted.lower()
        same = 0
        for a, b in zip(said, wanted):
            if a != b:
                break
            same += 1
        return {"letters": same, "overlap": 100.0 * same / len(wanted)}
'''


@pytest.fixture
def overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder of a metric; what the library keeps of it goes beside it."""
    evaluate = pytest.importorskip("evaluate", reason="needs sartor[harness]")
    for name in ("HF_METRICS_CACHE", "HF_MODULES_CACHE"):
        monkeypatch.setattr(evaluate.config, name, tmp_path / name)
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    folder = tmp_path / "overlap"
    folder.mkdir()
    (folder / "overlap.py").write_text(SCRIPT)
    return f"evaluate:{folder}"


def scored(metric: str, settings: dict[str, Any], said: str, *targets: str) -> float | None:
    example = Example("e", (Message("user", "?"),), targets)
    scorer = load_scorer("mine", {"scorer": metric, **settings})
    found = scorer.score([Prediction(example, Completion(said, "stop", 1, 1, 0.1))])
    return found[0].value if found else None


def test_a_metric_of_a_folder_scores_by_the_result_that_is_named(overlap: str) -> None:
    settings = {"key": "overlap", "scale": 100}
    assert scored(overlap, settings, "red lamp", "red rug") == pytest.approx(4 / 7)
    assert scored(overlap, settings, "red lamp", "blue", "red lamp") == 1  # the best target
    assert scored(overlap, settings, "red lamp") is None  # nothing is right or wrong there
    assert scored(overlap, settings, "RED", "red") == 0
    assert scored(overlap, settings | {"ignore_case": True}, "RED", "red") == 1


def test_what_the_library_cannot_give_is_said(overlap: str) -> None:
    with pytest.raises(SettingError, match="has no result 'f1'; known: letters, overlap"):
        scored(overlap, {"key": "f1"}, "a", "a")
    with pytest.raises(SettingError, match="cannot load 'no/such/folder'"):
        load_scorer("mine", {"scorer": "evaluate:no/such/folder", "allow_execution": True})


def test_a_script_of_the_hub_is_not_run_unless_it_is_allowed() -> None:
    with pytest.raises(SettingError, match=r"'rouge' is no folder .* allow_execution = true"):
        load_scorer("mine", {"scorer": "evaluate:rouge"})


@pytest.mark.parametrize("scale", [0, -1, "big", True, float("nan")])
def test_a_scale_that_is_no_number_above_0_is_refused(scale: Any) -> None:
    with pytest.raises(SettingError, match="scorer mine: scale is"):
        load_scorer("mine", {"scorer": "evaluate:rouge", "scale": scale})


def test_the_script_of_a_metric_is_part_of_what_the_scorer_is_made_of(overlap: str) -> None:
    script = Path(overlap.removeprefix("evaluate:")) / "overlap.py"
    assert source_digest(load_scorer("mine", {"scorer": overlap})) == digest_of(script)
