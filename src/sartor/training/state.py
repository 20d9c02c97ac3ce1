"""Where training is, in memory and on disk: all that is needed to go on, and to end the same.

`STATE` is written at every look, `RECENT` now and then between two looks. A killed training goes on
from the later of the two; one that goes wrong goes back to the last look, so that what becomes of
it does not hang on how fast the machine was.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.training.processes import Team

if TYPE_CHECKING:
    import torch

STATE = "training.safetensors"
RECENT = "recent.safetensors"
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
    scored: float = 0
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    made_of: str = ""
    """Digest of base, settings and examples: the state of another training is not gone on from."""
    losses: list[float] = field(default_factory=list)
    """Of the last steps, for divergence.py."""
    usual: float = 0.0
    """The loss that is usual, for divergence.py."""
    halvings: int = 0
    """How often the learning rate was halved."""
    skipped: list[int] = field(default_factory=list)
    """Steps that are not made: their batches broke the training."""
    left_out: list[str] = field(default_factory=list)
    """Examples whose loss is no number, whatever the step."""
    pack_tokens: int = 0
    """Tokens that fit at once; 0 before memory ran out."""
    written: int = 0
    """How often a state was written: the later of two has more."""

    @classmethod
    def read(cls, text: str) -> State:
        """What `told` wrote."""
        state = cls(**json.loads(text))
        state.curve = [(step, training, held) for step, training, held in state.curve]
        return state

    def told(self) -> str:
        return json.dumps(asdict(self))

    def begun(self, phase: str) -> State:
        """The state at the beginning of a phase, with what earlier ones have found out."""
        return State(
            tried=self.tried,
            phase=phase,
            made_of=self.made_of,
            left_out=list(self.left_out),
            pack_tokens=self.pack_tokens,
            written=self.written,
        )


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
        self.clear()

    def clear(self) -> None:
        """Drop the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def keep_best(self) -> None:
        """The values now are the best so far."""
        self.best = {n: p.detach().clone() for n, p in self.now.items()}

    def become(self, chosen: dict[str, torch.Tensor]) -> None:
        """Set the values being trained."""
        import torch

        with torch.no_grad():
            for name, parameter in self.now.items():
                parameter.copy_(chosen[name])

    def spread(self, team: Team) -> None:
        """Give every process what the leader holds."""
        import torch

        moments = team.tell(json.dumps([len(self.optimizer.state[p]) for p in self.now.values()]))
        for (name, parameter), held in zip(self.now.items(), json.loads(moments), strict=True):
            team.spread(parameter.data)
            team.spread(self.best[name])
            kept = self.optimizer.state[parameter]
            if not held:
                kept.clear()
            for key in MOMENTS if held else ():
                if key not in kept:
                    kept[key] = torch.zeros(()) if key == "step" else torch.zeros_like(parameter)
                team.spread(kept[key])


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
    state.written += 1
    temporary = path.with_name(f"{path.name}.tmp")
    save_file(tensors, temporary, metadata={"state": state.told()})
    temporary.replace(path)


def latest(directory: Path) -> Path:
    """The file to go on from, which may not be there."""
    return max(directory / STATE, directory / RECENT, key=_written)


def _written(path: Path) -> int:
    from safetensors import safe_open

    if not path.is_file():
        return -1
    with safe_open(path, "pt") as file:
        return int(json.loads(file.metadata()["state"]).get("written", 0))


def restore(path: Path, made_of: str, phase: str | None, values: Values) -> State | None:
    """Put back what `save` wrote; None, and nothing changed, where it is of another training, or
    of another phase than one that is named."""
    import torch
    from safetensors import safe_open

    if not path.is_file():
        return None
    place = str(next(iter(values.now.values())).device)
    with safe_open(path, "pt", device=place) as file, torch.no_grad():
        state = State.read(file.metadata()["state"])
        if state.made_of != made_of or phase not in (None, state.phase):
            return None
        names = set(file.keys())
        for name, parameter in values.now.items():
            parameter.copy_(file.get_tensor(f"now.{name}"))
            values.best[name] = file.get_tensor(f"best.{name}")
            values.optimizer.state[parameter] = {
                key: file.get_tensor(f"{key}.{name}") for key in MOMENTS if f"{key}.{name}" in names
            }
    return state


def forget(directory: Path) -> None:
    """Drop the state that `train` left in `directory`: its result is kept."""
    for name in (STATE, RECENT):
        (directory / name).unlink(missing_ok=True)
