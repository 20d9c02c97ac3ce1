"""On every architecture: answers and preferences are trained, and what is kept is the same model in
another process, folded in once or twice, and in PEFT's own hands."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import ALIKE

from sartor.data.files import write_json
from sartor.data.records import TrainingData
from sartor.models import chat, local
from sartor.models.language_model import Sampling
from sartor.techniques.registry import build
from sartor.techniques.technique import Customization
from sartor.techniques.zero_shot import with_system

NO_CACHE = {"mamba"}
BESIDE_EXPERTS = ["ernie4_5_moe"]  # shared experts, beside deepseek_v3's
ARCHITECTURES = [n for n in tiny_models.ARCHITECTURES if n not in NO_CACHE] + BESIDE_EXPERTS
QUICK: dict[str, Any] = {"learning_rates": (1e-2,), "epochs": 1, "batch_size": 4, "looks": 1}
JUDGED = TrainingData(
    (),
    tuple(replace(e, rejected=("dark red",)) for e in ALIKE.train),
    tuple(replace(e, rejected=("dark red",)) for e in ALIKE.validation),
)
ASKED = ALIKE.train[0].input
ELSEWHERE = """
import json, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from sartor.data.files import read_json
from sartor.techniques.registry import build
from sartor.techniques.technique import Customization

asked = json.loads(Path(sys.argv[1]).read_text())
logits = {}
for name, record in asked["records"].items():
    made = read_json(Path(record), Customization)
    network = build("dpo+lora").load(made).inner.network
    with torch.no_grad():
        logits[name] = network(torch.tensor([asked["prompt"]])).logits[0].contiguous()
save_file(logits, sys.argv[2])
"""


@dataclass(frozen=True)
class Made:
    """What was trained, and the logits it gives: (prompt tokens, vocabulary)."""

    record: Customization
    model: Any
    logits: torch.Tensor


def prompt() -> list[int]:
    told = with_system(ASKED, build("lora").system)  # type: ignore[attr-defined]
    return chat.encode(tiny_models.tokenizer(), told)


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network(input_ids=torch.tensor([prompt()])).logits[0]
    return found


@cache
def made(architecture: str, folder: Path) -> Made:
    base = tiny_models.save(folder / architecture / "base", architecture)
    technique = build(
        "dpo+lora", {"learning_rates": (4e-3,), "epochs": 1}, {"lora": {**QUICK, "rank": 4}}
    )
    record = technique.fit(base, JUDGED, folder / architecture / "made")
    model: Any = technique.load(record)
    return Made(record, model, logits(model.inner.network))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def elsewhere(folder: Path) -> dict[str, torch.Tensor]:
    """The logits of all, loaded in one other process."""
    from safetensors.torch import load_file

    records = {}
    for name in ARCHITECTURES:
        records[name] = str(folder / f"{name}.json")
        write_json(folder / f"{name}.json", made(name, folder).record)
    asked = folder / "asked.json"
    asked.write_text(json.dumps({"records": records, "prompt": prompt()}))
    files = [str(asked), str(folder / "logits.safetensors")]
    subprocess.run([sys.executable, "-c", ELSEWHERE, *files], check=True, timeout=300)
    return load_file(folder / "logits.safetensors")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_another_process_gives_the_same_logits(
    architecture: str, folder: Path, elsewhere: dict[str, torch.Tensor]
) -> None:
    here = made(architecture, folder)
    torch.testing.assert_close(elsewhere[architecture], here.logits, rtol=0, atol=1e-6)
    bare = logits(local.load_network(here.record.base, torch.float32))
    assert (bare - here.logits).abs().max() > 1e-2, "nothing was learned"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_peft_reads_what_is_kept_and_folds_it_in_once(architecture: str, folder: Path) -> None:
    here = made(architecture, folder)
    network = local.load_network(here.record.base, torch.float32)
    adapter = Path(here.record.directory) / "inner"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PEFT says of other libraries, and of merging twice
        theirs = peft.PeftModel.from_pretrained(network, str(adapter)).eval()
        beside = logits(theirs)
        theirs.merge_adapter()
        once = logits(theirs)
        theirs.merge_adapter()
        twice = logits(theirs)
    torch.testing.assert_close(beside, here.logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(once, here.logits, rtol=1e-3, atol=1e-3)
    assert torch.equal(once, twice)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_generates(architecture: str, folder: Path) -> None:
    [answer] = made(architecture, folder).model.generate([ASKED], Sampling(max_new_tokens=4))
    assert answer.new_tokens > 0 or answer.finish == "stop"
