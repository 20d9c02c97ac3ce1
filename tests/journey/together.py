"""Trainings that two processes do together, and one alone, so that tests can compare them.

    python -m tests.journey.together BASE FOLDER

with what torchrun leaves in the environment: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tests.training.test_loop import ALIKE, CONTRARY, Heard

from sartor import progress
from sartor.data.records import Document, Example, TrainingData
from sartor.models import base_card
from sartor.techniques import following
from sartor.techniques.continued_pretraining import ContinuedPretraining
from sartor.techniques.distill import Distill
from sartor.techniques.dpo import DPO
from sartor.techniques.full import FullFineTuning
from sartor.techniques.kto import KTO
from sartor.techniques.lora import LoRA
from sartor.techniques.orpo import ORPO
from sartor.techniques.p_tuning import PTuning
from sartor.training.sharding import is_sharded
from sartor.training.trainable import Trainable


def judged(examples: tuple[Example, ...]) -> tuple[Example, ...]:
    return tuple(replace(e, rejected=("blue", "don't know")) for e in examples)


TEXTS = ("The lamp is green.", "The notice period is four weeks.", "The desk is green and blue.")
DOCUMENTS = tuple(Document(f"d{i}", " ".join(TEXTS[i % 3 :] * 4), f"d{i}") for i in range(6))
DATA = TrainingData(
    DOCUMENTS, (*judged(ALIKE.train), *CONTRARY.train[:1]), judged(ALIKE.validation[:4]),
    tuple(replace(e, targets=()) for e in judged(CONTRARY.validation[:2])),
)  # fmt: skip
STEPS: dict[str, Any] = {
    "batch_size": 4, "epochs": 2.0, "looks": 2, "learning_rates": (3e-3,), "precision": "float32",
}  # fmt: skip
ADAPTER = LoRA(rank=2, **STEPS)
MOVED: dict[str, Any] = {"inner": ADAPTER, "learning_rates": (3e-3,), "epochs": 1.0}
READ: dict[str, Any] = {"rank": 2, "piece_tokens": 24, "plain": True}
READ |= {name: value for name, value in STEPS.items() if name != "precision"}
TRAININGS: dict[str, Any] = {
    "lora": replace(ADAPTER, learning_rates=(3e-3, 9e-3)),
    "full": FullFineTuning(**STEPS),
    "p-tuning": PTuning(virtual_tokens=3, **STEPS),
    "dpo": DPO(**MOVED),
    "orpo": ORPO(supervised=False, **MOVED),
    "kto": KTO(supervised=False, **MOVED),
    "continued-pretraining": ContinuedPretraining(**READ),
    "distill": Distill(inner=ADAPTER, keep_cut_off=True, max_new_tokens=4),
    "sharded-full": FullFineTuning(**{**STEPS, "learning_rates": (3e-3, 9e-3)}, sharding="full"),
    "sharded-hosted": FullFineTuning(**STEPS, sharding="full", optimizer_on_host="on"),
    "sharded-lora": replace(ADAPTER, sharding="full", checkpointing="on"),
    "sharded-kto": KTO(**{**MOVED, "inner": replace(ADAPTER, sharding="full")}),
    "troubled-sharded": FullFineTuning(**{**STEPS, "looks": 4}, sharding="full", pack_tokens=60),
    "troubled": replace(ADAPTER, epochs=3, learning_rates=(1e-3, 1e-2), looks=3),
}
BROKEN = "train3"
"""An example of the troubled trainings whose loss is no number."""


def data_of(name: str) -> TrainingData:
    if not name.startswith("troubled"):
        return DATA
    return replace(ALIKE, train=tuple(replace(e, id=f"{name} {e.id}") for e in ALIKE.train))


def fit(name: str, base: str, folder: Path) -> None:
    TRAININGS[name].fit(base_card.describe(base), data_of(name), folder / name)


def _is_broken(item: Any) -> bool:
    return bool(item.id.startswith("troubled") and item.id.endswith(BROKEN))


class Watched:
    """`Trainable.loss` with trouble: an example whose loss is no number, and memory that runs out
    in the second of two processes. Counts the tokens that gradients are taken of."""

    def __init__(self) -> None:
        self.whole, self.packs = Trainable.loss, 0
        self.put_through: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        """Values of networks whose weights are divided: in all, and in this process."""

    def loss(self, trainable: Trainable, pack: Any) -> Any:
        if is_sharded(trainable.network) and not self.held:
            for parameter in trainable.network.parameters():
                self.held["all"] += parameter.numel()
                self.held["here"] += getattr(parameter, "to_local", lambda p=parameter: p)().numel()
        if torch.is_grad_enabled():
            self.packs += any(e.id.startswith("troubled ") for e in pack)
            self.put_through[type(trainable.objective).__name__] += sum(len(e.tokens) for e in pack)
            if self.packs == 5 and os.environ.get("RANK") == "1":
                self.packs += 1
                raise MemoryError
        loss, counted = self.whole(trainable, pack)
        return loss * (float("nan") if any(_is_broken(e) for e in pack) else 1), counted

    def put(self, setting: Callable[[Any, str, Any], object] = setattr) -> Watched:
        """In place of the usual one."""
        setting(Trainable, "loss", lambda trainable, pack: self.loss(trainable, pack))
        return self


def main(base: str, folder: str) -> None:
    watched = Watched().put()
    if following.follows():
        following.follow()
    else:
        heard = Heard()
        with following.leading(), progress.shown_by(heard):
            for name in TRAININGS:
                fit(name, base, Path(folder))
        print(*heard.said, sep="\n")
    told = Path(folder) / f"put-through-{os.environ['RANK']}.json"
    told.write_text(json.dumps({"tokens": watched.put_through, "values": watched.held}))


if __name__ == "__main__":
    main(*sys.argv[1:])
