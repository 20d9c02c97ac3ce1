"""One of several processes that fails: whether the others would wait for it, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic.dataclasses import dataclass
from tests.training.test_loop import ALIKE, Heard
from torch.distributed import HashStore  # type: ignore[attr-defined]

from sartor.errors import ProcessError, TrainingError
from sartor.models.language_model import ModelCard
from sartor.progress import shown_by
from sartor.settings import STRICT
from sartor.techniques import following

CARD = ModelCard("made-up", "/none", "r1", "", 0, 256)


@dataclass(frozen=True, config=STRICT)
class Failing:
    """A technique that cannot train here."""

    name: ClassVar[str] = "failing"

    def fit(self, base: ModelCard, data: Any, directory: Path) -> None:
        raise TrainingError("no room for the loss.")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> HashStore:
    made = HashStore()
    monkeypatch.setattr(following, "_store", lambda: made)
    monkeypatch.setattr(following, "PATIENCE", 0.0)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    return made


def call() -> following._Call:
    return following._Call(("tests.techniques.test_following:Failing", "{}"), None, CARD, ALIKE)


def test_what_only_a_helper_meets_is_told_and_ends_it(store: HashStore) -> None:
    heard = Heard()
    with (
        shown_by(heard),
        pytest.raises(ProcessError, match=r"process 1 cannot train, and process 0 can: no room"),
    ):
        following._help(call(), 3)
    assert heard.said == ["no room for the loss."]


def test_what_the_leader_has_met_too_ends_nothing(store: HashStore) -> None:
    store.set("sartor/failed/3", "1")
    following._help(call(), 3)


def test_a_number_that_a_launcher_left_behind_makes_no_helper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not following.follows()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert following.follows()
