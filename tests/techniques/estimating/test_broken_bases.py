"""`check` tells bases that cannot be run in a run's words; copies that fail tell nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import tiny_models
from tests.journey.small_shop import Heard, set_config, write
from tests.training.test_loop import ALIKE

from sartor.checkup import check
from sartor.errors import MissingExtraError, ModelError
from sartor.journey import Project
from sartor.models import local
from sartor.models.language_model import ModelCard
from sartor.progress import shown_by
from sartor.techniques.estimating.estimate import estimated
from sartor.techniques.estimating.judging import COUNTED_HOW
from sartor.techniques.estimating.probe import Probe
from sartor.techniques.lora import LoRA
from sartor.techniques.zero_shot import ZeroShot


def heads_of_odd_size(folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = tiny_models.SHAPE | {"vocab_size": len(tiny_models.tokenizer()), "hidden_size": 36}
    config = AutoConfig.for_model("starcoder2", **shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_models.tokenizer().save_pretrained(folder)


def test_a_base_that_cannot_be_run_is_told_and_others_are_not(tmp_path: Path) -> None:
    shop = write(tmp_path / "shop")
    heads_of_odd_size(tmp_path / "odd")
    tiny_models.save(tmp_path / "whole")
    bases = json.dumps([str(tmp_path / "odd"), str(tmp_path / "whole")])
    set_config(shop, "[customize]", f"[model]\nbases = {bases}\n[customize]")
    set_config(shop, '["zero-shot", "rag", "lora"]', '["zero-shot", "lora"]')
    found = check(Project.open(shop))
    odd = found.base
    with pytest.raises(ModelError) as refused:
        local.load_network(odd, local.inference_dtype(odd))
    assert {e.name: e.why for e in found.candidates} == {
        "zero-shot@odd": str(refused.value),
        "lora@odd": str(refused.value),
        "zero-shot@whole": "",
        "lora@whole": "",
    }
    assert len(found.faults) == 2


def test_a_base_without_a_tokenizer_is_refused_before_anything_is_tried(tmp_path: Path) -> None:
    shop = write(tmp_path / "shop")
    tiny_models.save(tmp_path / "whole")
    tiny_models.save(tmp_path / "mute")
    for path in (tmp_path / "mute").glob("*token*"):
        path.unlink()
    bases = json.dumps([str(tmp_path / "whole"), str(tmp_path / "mute")])
    set_config(shop, "[customize]", f"[model]\nbases = {bases}\n[customize]")
    set_config(shop, '["zero-shot", "rag", "lora"]', '["zero-shot"]')
    for verb in (check, Project.run):
        heard = Heard()
        with shown_by(heard), pytest.raises(ModelError) as refused:
            verb(Project.open(shop))
        assert "no tokenizer could be loaded from" in str(refused.value)
        assert "(3) an equivalent slow tokenizer class" in str(refused.value)
        told = " ".join(heard.lines)
        assert "candidate 1 of" not in told
        assert "is tried on copies" not in told


def test_what_candidates_of_a_base_failed_of_is_told_once_in_the_reason(tmp_path: Path) -> None:
    shop = write(tmp_path / "shop")
    heads_of_odd_size(tmp_path / "odd")
    bases = json.dumps(["thimble", str(tmp_path / "odd")])
    set_config(shop, "[customize]", f"[model]\nbases = {bases}\n[customize]")
    set_config(shop, '["zero-shot", "rag", "lora"]', '["zero-shot", "few-shot"]')
    project = Project.open(shop)
    decision = project.run()
    assert decision.winner is None
    assert decision.reason.startswith(
        "No winner is named: zero-shot@odd, few-shot@odd failed: base "
    )
    page = (shop / "report.html").read_text()
    assert page.count("zero-shot@odd, few-shot@odd failed") >= 1
    assert "few-shot@odd failed" not in page.replace("zero-shot@odd, few-shot@odd failed", "")


def test_what_all_candidates_failed_of_is_told_once(tmp_path: Path) -> None:
    shop = write(tmp_path / "shop")
    heads_of_odd_size(tmp_path / "odd")
    model = f"[model]\nbase = {json.dumps(str(tmp_path / 'odd'))}\n"
    set_config(shop, "[customize]", f"{model}[customize]")
    set_config(shop, '["zero-shot", "rag", "lora"]', '["zero-shot", "lora"]')
    with pytest.raises(ModelError, match=r"^no candidate could be run: zero-shot, lora failed: "):
        Project.open(shop).run()


@pytest.mark.parametrize("architecture", ["gpt_neo", "qwen3_5", "gemma4"])
def test_a_base_whose_copies_cannot_be_run_is_counted(architecture: str, tmp_path: Path) -> None:
    card = tiny_models.save(tmp_path, architecture)
    with Probe(card) as probe:
        for technique in (ZeroShot(), LoRA()):  # the second finds what the first left behind
            found = estimated(technique, card, ALIKE, 5, 8, probe=probe)
            assert found.how.startswith(f"{COUNTED_HOW}; not tried: ")
            assert found.fits
        assert probe.fault() == ""


@dataclass(frozen=True)
class Needy(ZeroShot):
    """Needs what is not installed."""

    def load(self, customization: Any) -> Any:
        raise MissingExtraError("needy", "nothing-like-it", "needy")


def test_a_package_that_a_technique_lacks_is_told(tmp_path: Path) -> None:
    card: ModelCard = tiny_models.save(tmp_path)
    found = estimated(Needy(), card, ALIKE, 5, 8)
    assert not found.fits
    assert found.why == 'needy needs nothing-like-it: pip install "sartor[needy]"'
