"""Several adapters beside each other on one network, and what is made of them.

"linear" is the sum of what they add to each weight, each times its own weight; TIES drops the
smallest values and settles signs first (Yadav et al. 2023, arXiv:2306.01708, section 3); DARE drops
at random (Yu et al. 2023, arXiv:2311.03099, section 3). By PEFT's `add_weighted_adapter`, on whole
differences of weights: the mean of thin matrices is not the mean of what they do.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sartor.data.records import Example
from sartor.errors import TrainingError
from sartor.models import local
from sartor.models.language_model import ModelCard
from sartor.progress import say
from sartor.techniques import weights
from sartor.techniques.earlier import WEIGHTS, Earlier
from sartor.techniques.technique import Customization
from sartor.training.objective import VALIDATION_EXAMPLES
from sartor.training.packed_attention import use_packed_attention
from sartor.training.packing import Encoded, answer_loss, encode, packs
from sartor.training.state import writing

How = Literal["linear", "ties", "dare_linear", "dare_ties"]
MERGED = "default"
"""What PEFT calls an adapter that it writes to the folder itself."""
KINDS = {
    "linear": "cat", "ties": "ties_svd", "dare_linear": "dare_linear_svd",
    "dare_ties": "dare_ties_svd",
}  # fmt: skip
"""What PEFT calls them. `cat` is exact: matrices side by side. Of the others, whose differences are
of full rank, the largest singular values are kept."""


@dataclass(frozen=True)
class Part:
    """An adapter to merge, how many examples it was trained on, and its record if it was here."""

    adapter: Earlier
    examples: int
    made: Customization | None = None


class Merging:
    """The network with all adapters loaded; merges of them are made active one at a time."""

    def __init__(
        self, base: ModelCard, parts: Sequence[Part], how: How, density: float, seed: int
    ) -> None:
        self.base = base
        self.parts = parts
        self.how = how
        self.density = density
        self.seed = seed
        self.names = [f"part{number}" for number in range(len(parts))]
        network = local.load_network(base, local.inference_dtype(base))
        with weights.peft_errors("merge"):
            import peft

            first, *others = [part.adapter.folder for part in parts]
            self.model: Any = peft.PeftModel.from_pretrained(network, first, self.names[0])
            for name, folder in zip(self.names[1:], others, strict=True):
                self.model.load_adapter(folder, name)
            # Of the first one's configuration PEFT makes the merged one's, which is scaled by 1.
            own = self.model.peft_config[self.names[0]]
            own.use_rslora, own.init_lora_weights = False, True
        use_packed_attention(network)

    def choices(self) -> list[tuple[float, ...]]:
        """Weights worth trying: equal ones, ones by the number of examples, all at 1, each alone.

        TIES takes a mean by itself, over those whose sign agrees: its weights are about 1.
        """
        count, examples = len(self.parts), sum(part.examples for part in self.parts)
        scale = count if self.how.endswith("ties") else 1
        tried = [(scale / count,) * count]
        tried += [tuple(scale * part.examples / examples for part in self.parts), (1.0,) * count]
        tried += [tuple(float(one == own) for one in range(count)) for own in range(count)]
        return list(dict.fromkeys(tried))

    def read(self, validation: Sequence[Example]) -> list[Encoded]:
        """The examples that losses are compared on."""
        held = sorted(validation, key=lambda example: example.id)[:VALIDATION_EXAMPLES]
        return encode(local.load_tokenizer(self.base), held, self.base.context)

    def with_a_loss(
        self, watched: Sequence[Encoded], choices: Sequence[Sequence[float]]
    ) -> list[Encoded]:
        """Without those that have no number for a loss by any of the weights, which is said;
        TrainingError where none is left."""
        kept = [
            one
            for one in watched
            if any(math.isfinite(self.loss(choice, [one], 1)) for choice in choices)
        ]
        left_out = [one.id for one in watched if one not in kept]
        if not kept:
            raise TrainingError(
                "merge: no validation example has a number for a loss by any weights: the base or "
                "an adapter is broken. Fetch the base again, or train the adapters again."
            )
        say(
            f"merge: {', '.join(left_out[:3])} of validation have no number for a loss by any "
            f"weights ({len(left_out)} such); the weights are chosen without them"
        )
        return kept

    def loss(self, choice: Sequence[float], watched: Sequence[Encoded], at_once: int) -> float:
        """Cross-entropy of an answer token, with at most so many tokens put through together."""
        import torch

        self.become(choice)
        network = self.model.get_base_model()
        with torch.no_grad():
            found = [answer_loss(network, pack) for pack in packs(watched, at_once)]
        loss = sum(float(one) for one, _ in found) / sum(scored for _, scored in found)
        return loss if math.isfinite(loss) else math.inf

    def become(self, choice: Sequence[float]) -> None:
        """Make the merge by these weights the active adapter; one alone is active as it is."""
        import torch

        alone = _alone(choice)
        if alone is not None:
            self.model.set_adapter(self.names[alone])
            return
        if MERGED in self.model.peft_config:
            self.model.set_adapter(self.names[0])
            self.model.delete_adapter(MERGED)
        torch.manual_seed(self.seed)
        adapters = [part.adapter for part in self.parts]
        rank = min(sum(a.rank for a in adapters), *(a.narrowest for a in adapters))
        with weights.peft_errors("merge"):
            self.model.add_weighted_adapter(
                self.names,
                list(choice),
                MERGED,
                combination_type=KINDS[self.how],
                svd_rank=rank,
                svd_full_matrices=False,
                density=self.density,
            )
        self.model.set_adapter(MERGED)

    def keep(self, choice: Sequence[float], directory: Path) -> None:
        """Write the merge by these weights as PEFT keeps an adapter."""
        alone = _alone(choice)
        if alone is None:
            self.become(choice)
        with writing(directory):
            if alone is None:
                weights.write_adapter(self.model, directory, selected_adapters=[MERGED])
                return
            directory.mkdir(parents=True, exist_ok=True)
            for file in (weights.CONFIG, WEIGHTS):
                shutil.copyfile(self.parts[alone].adapter.folder / file, directory / file)


def _alone(choice: Sequence[float]) -> int | None:
    """Which one it is, where its weight is 1 and the others' are 0."""
    some = [number for number, weight in enumerate(choice) if weight]
    return some[0] if len(some) == 1 and choice[some[0]] == 1 else None
