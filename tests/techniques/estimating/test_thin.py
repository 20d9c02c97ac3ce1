"""What a few layers tell about all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests import tiny_models

from sartor.models import local
from sartor.techniques.estimating.thin import ByLayers, counts, refuse_unlike, thin


def test_what_a_layer_adds_is_added_for_every_layer() -> None:
    # 10 for what is there once, 3 a layer that is changed, 1 for one that is not
    changed = ByLayers((2, 4), few=16, more=22)
    assert changed.of(12) == 10 + 12 * 3
    some = ByLayers((2, 4), few=16, more=22, upper=18)
    assert some.of(12, changed=5) == 10 + 5 * 3 + 7 * 1
    assert some.of(12, changed=1) == 10 + 3 + 11


def test_shallow_bases_are_tried_on_shallower_copies() -> None:
    assert (counts(1), counts(3), counts(4), counts(80)) == ((1, 2), (1, 2), (2, 4), (2, 4))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3"])
def test_a_copy_loads_as_a_base_and_answers_in_the_precision_of_the_whole(
    architecture: str, tmp_path: Path
) -> None:
    card = tiny_models.save(tmp_path / "base", architecture)
    copy = thin(card, 1, tmp_path / "copy")
    assert copy.parameters == card.parameters
    network = local.load_network(copy, local.inference_dtype(copy))
    assert network.config.num_hidden_layers == 1
    assert len(local.load_tokenizer(copy)) == len(local.load_tokenizer(card))


def test_layers_that_differ_are_not_taken_for_copies_of_the_first(tmp_path: Path) -> None:
    card = tiny_models.save(tmp_path)
    refuse_unlike(card)
    with pytest.raises(ValueError, match="its layers differ"):
        refuse_unlike(replace(card, parameters=3 * card.parameters))
