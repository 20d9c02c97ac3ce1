"""Foundation models to choose from, and which of them a team could use: `catalogue.toml`.

Nothing is loaded or fetched. Memory is by arithmetic from the number of parameters (bfloat16
weights; with optimizer and gradients where weights are trained) and a tenth more for what is on the
way; `sartor check` estimates a model at hand from its architecture and the lengths of the examples.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from sartor.errors import SettingError

FILE = Path(__file__).with_name("catalogue.toml")
BYTES: dict[str, float] = {"inference": 2.0, "p-tuning": 2.2, "lora": 2.4, "full": 16.0}
"""For each parameter. Full fine-tuning: weights, gradients and two moments in float32 (Rajbhandari
et al. 2020, arXiv:1910.02054, section 3.1, count 16 too); an adapter trains a few in a hundred."""
ON_THE_WAY = 1.1
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


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


def shortlist(wanted: Wanted, models: Sequence[FoundationModel] | None = None) -> Shortlist:
    """Which models fit; SettingError for a use or license that there is not."""
    if wanted.use not in BYTES:
        raise SettingError(f"there is no use {wanted.use!r}; known: {', '.join(BYTES)}")
    if wanted.license not in {None, "permissive", "commercial"}:
        raise SettingError(
            f"there is no kind of license {wanted.license!r}; known: permissive (Apache-2.0, MIT), "
            "commercial (those, and licenses with conditions)"
        )
    fit, left_out = [], []
    for model in sorted(models or catalogue(), key=lambda one: (one.parameters, one.id)):
        if reasons := tuple(_against(model, wanted)):
            left_out.append((model, reasons))
        else:
            fit.append(model)
    return Shortlist(tuple(fit), tuple(left_out))


def _against(model: FoundationModel, wanted: Wanted) -> list[str]:
    reasons = []
    if wanted.max_memory is not None and model.memory(wanted.use) > wanted.max_memory:
        needed = f"{model.memory(wanted.use) / 1e9:.1f} GB"
        reasons.append(f"{wanted.use} takes about {needed}, not {wanted.max_memory / 1e9:g}")
    if wanted.license == "permissive" and model.license != "permissive":
        reasons.append(f"its license has conditions ({model.license_name})")
    if wanted.license == "commercial" and model.license == "research":
        reasons.append(f"its license allows no commercial use ({model.license_name})")
    if model.context < wanted.context:
        reasons.append(f"it reads {model.context:,} tokens, not {wanted.context:,}")
    if wanted.chat and not model.chat:
        reasons.append("it brings no chat template")
    return reasons


def size(text: str) -> float:
    """Bytes of "24GB", "800 MB" or a plain number; SettingError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", text.casefold())
    if not found:
        raise SettingError(f"{text!r} is no amount of memory. Expected a number and a unit: 24GB")
    return float(found[1]) * UNITS[found[2]]
