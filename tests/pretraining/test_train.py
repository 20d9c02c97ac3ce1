"""Training: killed and started again, it ends at the same bytes. Its export spares the card."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from skills import Words, conversation

STEPS = 4

# torch's own, while it imports the compiler
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")


@pytest.fixture
def prepared(words: Words, tmp_path: Path) -> Path:
    """What prepare.py leaves, of made-up words."""
    from prepare import build_tokenizer

    drawn = [conversation(random.Random(i), words, 200)[1] for i in range(40)]
    tokenizer = build_tokenizer([content for turns in drawn for _, content in turns], 400)
    folder = tmp_path / "prepared"
    tokenizer.save_pretrained(folder / "tokenizer")
    ids = [i for text in words.paragraphs for i in (1, *tokenizer.encode(text), 2)]
    np.save(folder / "text.npy", np.array(ids, dtype=np.uint16))
    triple = {"context": words.paragraphs[0], "question": "What?", "answer": words.spans[0]}
    (folder / "reading.json").write_text(json.dumps([triple]))
    (folder / "words.json").write_text(json.dumps(asdict(words)))
    (folder / "prepared.json").write_text(json.dumps({"vocabulary": len(tokenizer)}))
    return folder


def trained(prepared: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The last checkpoint."""
    import train

    settings = f"--steps {STEPS} --decay 2 --save-every 2 --tokens 384 --layers 2"
    arguments = ["--prepared", str(prepared), "--out", str(out), *settings.split()]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with torch.compiler.set_stance("force_eager"):  # compiling takes longer than four steps
        train.main()
    return (out / "checkpoint.safetensors").read_bytes()


def test_a_killed_run_goes_on_to_the_same_weights(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import train

    whole = trained(prepared, tmp_path / "whole", monkeypatch)
    save = train.save

    def save_and_die(*arguments: object) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        trained(prepared, tmp_path / "killed", monkeypatch)
    monkeypatch.setattr(train, "save", save)
    assert train.step_of(tmp_path / "killed" / "checkpoint.safetensors") == STEPS // 2
    assert trained(prepared, tmp_path / "killed", monkeypatch) == whole


def test_an_export_leaves_the_model_card_alone(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import export

    run, out = tmp_path / "run", tmp_path / "model"
    trained(prepared, run, monkeypatch)
    out.mkdir()
    (out / "README.md").write_text("the card")
    arguments = ["--run", str(run), "--prepared", str(prepared), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["export.py", *arguments])
    export.main()
    assert (out / "README.md").read_text() == "the card"
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
