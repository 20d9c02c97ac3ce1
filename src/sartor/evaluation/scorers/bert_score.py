"""BERTScore: the answer's tokens matched to a target's by their meaning in context.

Zhang et al. 2020, arXiv:1904.09675, section 3: each token of the answer to the nearest of the
target (precision) and the other way (recall), by cosine of one layer's hidden states; their F1. No
weighting by rarity and no rescaling, so values lie high: compare them, and do not read them alone.
The encoder is yours: a folder with a transformers model, or a hub id.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import MissingExtraError, ModelError, SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.against_targets import scores_against_targets
from sartor.evaluation.scorers.place import Placed
from sartor.settings import STRICT

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, config=STRICT)
class BertScore(Placed):
    """F1, no less than 0; the best over the targets."""

    name: ClassVar[str] = "bert_score"
    binary: ClassVar[bool] = False

    model: str = ""
    """Folder of a transformers encoder (relative to the project), or a hub id."""
    layer: int = -1
    """Which hidden states; -1 is the last. The paper's table 8 has the best for each encoder."""
    batch: int = 32
    """Texts put through together."""

    def check(self) -> None:
        """Raises SettingError where no model is named."""
        if not self.model:
            raise SettingError(
                f'scorer {self.name} needs an encoder. Name one: model = "folder" under '
                f"[scorers.{self.name}]."
            )

    def made_of(self) -> str:
        return self.place.revision(self.model)

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        self.check()
        texts = {p.completion.text for p in predictions}
        texts |= {target for p in predictions for target in p.example.targets}
        vectors = self._vectors(sorted(texts))
        return scores_against_targets(
            self.name, predictions, lambda a, b: _f1(vectors[a], vectors[b])
        )

    @cached_property
    def _encoder(self) -> tuple[Any, Any]:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"scorer {self.name}", "transformers", "local") from error
        inside = self.place.folder / self.model
        path = str(inside if inside.is_dir() else self.model)
        try:
            network = AutoModel.from_pretrained(path, use_safetensors=True).eval()
            return AutoTokenizer.from_pretrained(path), network
        except (OSError, ValueError) as error:
            raise ModelError(
                f"scorer {self.name}: {self.model!r} cannot be loaded as an encoder: {error}. Name "
                "a folder that holds a transformers model with its tokenizer."
            ) from error

    def _vectors(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Unit vectors of each text's tokens, the special ones left out: (tokens, hidden)."""
        import torch

        tokenizer, network = self._encoder
        most = min(tokenizer.model_max_length, network.config.max_position_embeddings)
        special = set(tokenizer.all_special_ids)
        found: dict[str, torch.Tensor] = {}
        for start in range(0, len(texts), self.batch):
            batch = list(texts[start : start + self.batch])
            read = tokenizer(
                batch, return_tensors="pt", padding=True, truncation=True, max_length=most
            )
            with torch.inference_mode():
                states = network(**read, output_hidden_states=True).hidden_states[self.layer]
            for text, ids, hidden in zip(batch, read["input_ids"], states, strict=True):
                kept = torch.tensor([int(i) not in special for i in ids])
                found[text] = torch.nn.functional.normalize(hidden[kept], dim=-1)
        return found


def _f1(answer: torch.Tensor, target: torch.Tensor) -> float:
    if not len(answer) or not len(target):
        return float(len(answer) == len(target))
    likeness = answer @ target.T  # (tokens of the answer, tokens of the target)
    precision = float(likeness.max(dim=1).values.mean())
    recall = float(likeness.max(dim=0).values.mean())
    if precision <= 0 or recall <= 0:
        return 0.0
    return min(1.0, round(2 * precision * recall / (precision + recall), 6))
