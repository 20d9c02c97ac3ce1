"""Foundation models to choose from, and which of them a team could use: `catalogue.toml`.

Nothing is loaded or fetched. Memory is told by whoever asks (techniques/estimating/arithmetic.py,
as `sartor estimate` has it), or is so many bytes a parameter where a model's shape is not in the
file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from sartor.errors import SettingError

FILE = Path(__file__).with_name("catalogue.toml")
BYTES: dict[str, float] = {
    "inference": 2.0, "p-tuning": 2.2, "lora": 2.4, "qlora": 1.0, "full": 26.0,
}  # fmt: skip
"""For each parameter. Full fine-tuning: weights, gradients and two moments in float32, 16 bytes
(Rajbhandari et al. 2020, arXiv:1910.02054, section 3.1, count as many), the first and the best
values, and what is cast for products; an adapter trains a few in a hundred."""
ON_THE_WAY = 1.1
LEAST = 1e6
"""Bytes; less is a number whose unit was forgotten."""
STEPS = ("", "k", "m", "g", "t")


@dataclass(frozen=True, slots=True)
class Latent:
    """Queries, keys and values made through narrow ones (DeepSeek-AI 2024, arXiv:2405.04434,
    section 2.1)."""

    query_rank: int
    rank: int
    """Of keys and values together."""
    turned_width: int
    """Of a head's queries and keys, the part that has its position in it."""
    value_width: int
    """Of a head."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a transformer, of which each block is attention and a feed-forward."""

    layers: int
    hidden: int
    heads: int
    key_heads: int
    head_width: int
    inner: int
    """Of a feed-forward, or of one expert's."""
    vocabulary: int
    tied: bool
    """Whether the head is the embeddings."""
    gated: bool
    """Whether a feed-forward has three matrices, not two."""
    experts: int = 1
    experts_used: int = 1
    """For a token."""
    shared_experts: int = 0
    """Beside those, used for every token."""
    dense_layers: int = 0
    """The first blocks, whose feed-forward is one of `dense_inner` and no mixture."""
    dense_inner: int = 0
    latent: Latent | None = None
    """How queries, keys and values are made, where that is through narrow ones."""

    @property
    def cached(self) -> int:
        """Values that the cache of keys and values holds for a token."""
        values = self.head_width if self.latent is None else self.latent.value_width
        return self.layers * self.key_heads * (self.head_width + values)

    def linears(self) -> tuple[tuple[str, int], ...]:
        """Every linear map that a token goes through, and its inputs and outputs."""
        inside = ("gate_proj", "up_proj", "down_proj") if self.gated else ("fc1", "fc2")
        used, found = self.experts_used + self.shared_experts, []
        for n in range(self.layers):
            dense = n < self.dense_layers
            inner, times = (self.dense_inner, 1) if dense else (self.inner, used)
            block = [(f"self_attn.{name}", sum(sides)) for name, sides in self._attention()]
            block += [(f"mlp.{name}", (self.hidden + inner) * times) for name in inside]
            found += [(f"layers.{n}.{name}", width) for name, width in block]
        return tuple(found)

    def parameters(self) -> int:
        """Without biases and norms, which are few."""
        matrices = 3 if self.gated else 2
        attention = sum(inputs * outputs for _, (inputs, outputs) in self._attention())
        experts = self.experts + self.shared_experts
        mixed = (self.layers - self.dense_layers) * experts * self.inner
        forward = matrices * self.hidden * (mixed + self.dense_layers * self.dense_inner)
        heads = 1 if self.tied else 2
        return self.layers * attention + forward + self.vocabulary * self.hidden * heads

    def _attention(self) -> tuple[tuple[str, tuple[int, int]], ...]:
        """The linear maps of a block's attention, each with its inputs and outputs."""
        hidden, queries = self.hidden, self.heads * self.head_width
        if (latent := self.latent) is None:
            keys = self.key_heads * self.head_width
            return (
                ("q_proj", (hidden, queries)), ("k_proj", (hidden, keys)),
                ("v_proj", (hidden, keys)), ("o_proj", (queries, hidden)),
            )  # fmt: skip
        both = self.head_width - latent.turned_width + latent.value_width
        return (
            ("q_a_proj", (hidden, latent.query_rank)),
            ("q_b_proj", (latent.query_rank, queries)),
            ("kv_a_proj_with_mqa", (hidden, latent.rank + latent.turned_width)),
            ("kv_b_proj", (latent.rank, self.heads * both)),
            ("o_proj", (self.heads * latent.value_width, hidden)),
        )


@dataclass(frozen=True, slots=True)
class FoundationModel:
    """One model of the catalogue."""

    id: str
    """On the Hugging Face hub; what `base` is set to."""
    family: str
    architecture: str
    parameters: float
    context: int
    """Tokens."""
    languages: str
    training: str
    """What it was trained on, as far as that is known."""
    license: Literal["permissive", "conditional", "research"]
    license_name: str
    chat: bool
    """Whether it brings a chat template."""
    active: float | None = None
    """Parameters that work on a token, for mixtures of experts."""
    revision: str = "main"
    """On the hub; a project pins its own: base = "id@commit"."""
    shape: Shape | None = None
    """None for architectures that it does not fit."""

    def memory(self, use: str) -> float:
        """Bytes that a use of it takes, about."""
        return self.parameters * BYTES[use] * ON_THE_WAY


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a team needs of a model."""

    max_memory: float | None = None
    """Bytes."""
    license: str | None = None
    context: int = 0
    use: str = "inference"
    chat: bool = False


@dataclass(frozen=True, slots=True)
class Shortlist:
    """The models that fit, small ones first, and for every other one the reasons why not."""

    fit: tuple[FoundationModel, ...]
    left_out: tuple[tuple[FoundationModel, tuple[str, ...]], ...]


def catalogue() -> tuple[FoundationModel, ...]:
    """Every model, as the file has them."""
    rows = tomllib.loads(FILE.read_text("utf-8"))["model"]
    return TypeAdapter(tuple[FoundationModel, ...]).validate_python(rows)


def catalogued(id: str) -> FoundationModel | None:
    """The model of that hub id, whatever revision is named behind an `@`."""
    return next((model for model in catalogue() if model.id == id.partition("@")[0]), None)


Memory = Callable[[FoundationModel, str], float]
"""Bytes that a use of a model takes."""


def shortlist(
    wanted: Wanted,
    models: Sequence[FoundationModel] | None = None,
    memory: Memory = FoundationModel.memory,
) -> Shortlist:
    """Which models fit; SettingError for a use, license or amount that there is not."""
    if wanted.use not in BYTES:
        raise SettingError(f"there is no use {wanted.use!r}; known: {', '.join(BYTES)}")
    if wanted.license not in {None, "permissive", "commercial"}:
        raise SettingError(
            f"there is no kind of license {wanted.license!r}; known: permissive (Apache-2.0, MIT), "
            "commercial (those, and licenses with conditions)"
        )
    if wanted.context < 0 or (wanted.max_memory is not None and wanted.max_memory <= 0):
        raise SettingError("memory must be above 0, and context 0 or more. Give other bounds.")
    if wanted.max_memory is not None and wanted.max_memory < LEAST:
        raise SettingError(
            f"max memory is {wanted.max_memory:g} bytes, in which no model fits. Give the unit "
            f"too: {wanted.max_memory:g}GB."
        )
    fit, left_out = [], []
    for model in sorted(models or catalogue(), key=lambda one: (one.parameters, one.id)):
        if reasons := tuple(_against(model, wanted, memory(model, wanted.use))):
            left_out.append((model, reasons))
        else:
            fit.append(model)
    return Shortlist(tuple(fit), tuple(left_out))


def _against(model: FoundationModel, wanted: Wanted, memory: float) -> list[str]:
    reasons = []
    if wanted.max_memory is not None and memory > wanted.max_memory:
        needed = _gigabytes_above(memory, wanted.max_memory)
        reasons.append(f"{wanted.use} takes about {needed} GB, not {wanted.max_memory / 1e9:g}")
    if wanted.license == "permissive" and model.license != "permissive":
        reasons.append(f"its license has conditions ({model.license_name})")
    if wanted.license == "commercial" and model.license == "research":
        reasons.append(f"its license allows no commercial use ({model.license_name})")
    if model.context < wanted.context:
        reasons.append(f"it reads {model.context:,} tokens, not {wanted.context:,}")
    if wanted.chat and not model.chat:
        reasons.append("it brings no chat template")
    return reasons


def _gigabytes_above(memory: float, bound: float) -> str:
    """With as many decimals as show that it is above the bound."""
    told = (f"{memory / 1e9:.{places}f}" for places in range(1, 9))
    return next((text for text in told if float(text) > bound / 1e9), f"{memory / 1e9}")


def size(text: str) -> float:
    """Bytes of "24GB", "24GiB" or a plain number; SettingError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text.casefold())
    if not found:
        raise SettingError(f"{text!r} is no amount of memory. Expected a number and a unit: 24GB")
    step = 1024.0 if found[3] else 1000.0
    return float(found[1]) * pow(step, STEPS.index(found[2]))
