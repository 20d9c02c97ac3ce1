"""What a probe trains on: as much of a step as training puts through at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests import tiny_models

from sartor.data.records import Example, Message, TrainingData
from sartor.models import base_card
from sartor.techniques.estimating import rehearsal as module
from sartor.techniques.estimating.drawn import Drawn
from sartor.techniques.lora import LoRA
from sartor.training.packing import encode


def shop() -> TrainingData:
    """Eight examples of one length that begin with another letter each."""
    asked = tuple(
        Example(letter, (Message("user", letter + " lamp" * 20),), ("green",))
        for letter in "abcdefgh"
    )
    return TrainingData((), asked, asked[:2])


@pytest.mark.parametrize(("threads", "expected"), [(1, 3), (2, 6), (8, 8)])
def test_the_packs_of_all_threads_that_work_side_by_side(
    threads: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a wide model, of which a pack holds three of these examples; with four parts of two
    examples each, all of them go through at once."""
    network, tokenizer = tiny_models.network(), tiny_models.tokenizer()
    network.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    card = base_card.describe(str(tmp_path))
    data, core = shop(), LoRA()
    lengths = [len(e.tokens) for e in encode(tokenizer, data.train, card.context)]
    pack = 4 * min(lengths) - 1
    assert pack >= 3 * max(lengths)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(module, "together", lambda tokens, width: min(tokens, pack))
    drawn = Drawn(core, card, data, tokenizer)
    found = module.rehearsal(drawn, core, data, tokenizer, card)
    assert found.usual_size == expected
