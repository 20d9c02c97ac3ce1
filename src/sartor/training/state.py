"""Where training is, in memory and on disk: all that is needed to go on, and to end the same."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

STATE = "training.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of every parameter."""


@dataclass
class State:
    """Where training is; with the tensors of `STATE`, all that is needed to go on."""

    tried: dict[str, float] = field(default_factory=dict)
    phase: str = ""
    step: int = 0
    best: float = math.inf
    best_step: int = 0
    since_best: int = 0
    tokens: int = 0
    summed: float = 0.0
    scored: int = 0
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    made_of: str = ""
    """Digest of base, settings and examples: the state of another training is not gone on from."""


@dataclass
class Values:
    """The values being trained, the best of them so far, and what the optimizer keeps."""

    now: dict[str, torch.nn.Parameter]
    best: dict[str, torch.Tensor]
    optimizer: Any

    def step(self, rate: float) -> None:
        """Move by the gradients, and clear them."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["times"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def keep_best(self) -> None:
        """The values now are the best so far."""
        self.best = {n: p.detach().clone() for n, p in self.now.items()}


def save(path: Path, state: State, values: Values) -> None:
    """Write both, whole or not at all."""
    import torch
    from safetensors.torch import save_file

    tensors = {}
    for name, parameter in values.now.items():
        tensors[f"now.{name}"] = parameter.detach().contiguous()
        tensors[f"best.{name}"] = values.best[name].contiguous()
        for key, value in values.optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = torch.as_tensor(value).contiguous()
    temporary = path.with_name(f"{path.name}.tmp")
    save_file(tensors, temporary, metadata={"state": json.dumps(asdict(state))})
    temporary.replace(path)


def restore(path: Path, made_of: str, values: Values, place: str) -> State | None:
    """Put back what `save` wrote; None, and nothing changed, where it is of another training."""
    import torch
    from safetensors import safe_open

    if not path.is_file():
        return None
    with safe_open(path, "pt", device=place) as file, torch.no_grad():
        plain = json.loads(file.metadata()["state"])
        if plain["made_of"] != made_of:
            return None
        state = State(**plain)
        state.curve = [(step, training, held) for step, training, held in state.curve]
        for name, parameter in values.now.items():
            parameter.copy_(file.get_tensor(f"now.{name}"))
            values.best[name] = file.get_tensor(f"best.{name}")
            values.optimizer.state[parameter] = {
                key: file.get_tensor(f"{key}.{name}") for key in MOMENTS
            }
    return state


def forget(directory: Path) -> None:
    """Drop the state that `train` left in `directory`: its result is kept."""
    (directory / STATE).unlink(missing_ok=True)
