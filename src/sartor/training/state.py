"""Where training is, in memory and on disk: all that is needed to go on, and to end the same.

`STATE` is written at every look, `RECENT` now and then between two looks. A killed training goes on
from the later of the two; one that goes wrong goes back to the last look, so that what becomes of
it does not hang on how fast the machine was.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import DiskError
from sartor.progress import say
from sartor.training.processes import Team
from sartor.training.sharding import gathered, is_part, put

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
    on_host: bool = False
    """Whether the last two are in the machine's memory, wherever the first are."""

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
        self.best = {n: self.aside(p.detach()).clone() for n, p in self.now.items()}

    def aside(self, tensor: torch.Tensor) -> torch.Tensor:
        """Where what is kept beside the values lies."""
        return tensor.cpu() if self.on_host else tensor

    def become(self, chosen: dict[str, torch.Tensor]) -> None:
        """Set the values being trained."""
        import torch

        with torch.no_grad():
            for name, parameter in self.now.items():
                parameter.copy_(chosen[name])

    def spread(self, team: Team) -> None:
        """Give every process the values that the leader begins with; parts are of one base."""
        for name, parameter in self.now.items():
            if not is_part(parameter):
                team.spread(parameter.data)
                team.spread(self.best[name])

    def gathered(self) -> dict[str, torch.Tensor]:
        """All that `restore` asks for, by name; of a team whose values are divided all must ask,
        and the leader has them."""
        found = {}
        for name, parameter in self.now.items():
            found[f"now.{name}"] = gathered(parameter.detach())
            found[f"best.{name}"] = gathered(self.best[name])
            for key, value in self.optimizer.state[parameter].items():
                found[f"{key}.{name}"] = gathered(value)
        return found


def save(path: Path, state: State, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write both, whole or not at all."""
    from safetensors.torch import save_file

    state.written += 1
    temporary = path.with_name(f"{path.name}.tmp")
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with writing(path):
        save_file(plain, temporary, metadata={"state": state.told()})
        with temporary.open("rb+") as file:  # else a power cut may leave the new name and no bytes
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """While weights are written: DiskError where the disk is full or the folder is not ours."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        told = str(getattr(error, "strerror", "") or error)
        found = told.rpartition("I/O error: ")[2].partition(" (os error")[0]
        raise DiskError(
            f"cannot write {path}: {found}. Free some space or check the folder's rights, and "
            "start again: it goes on from the last state that was written."
        ) from error
    finally:
        with suppress(OSError):  # moved, never made, or not ours to remove
            path.with_name(f"{path.name}.tmp").unlink()


def latest(directory: Path) -> Path:
    """The file to go on from, which may not be there."""
    return max(directory / STATE, directory / RECENT, key=_written)


def _written(path: Path) -> int:
    state = _state_in(path)
    return -1 if state is None else state.written


def _state_in(path: Path) -> State | None:
    """Of a file that is there and whole; one that is broken is passed over, which is said."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            return State.read(file.metadata()["state"])
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        say(f"{path} is broken ({error}): passed over, as if that state had not been written")
        return None


def restore(
    path: Path, made_of: str, phase: str | None, values: Values, team: Team
) -> State | None:
    """Put back, in every process, what the leader has `save`d; None, and nothing changed, where it
    is of another training, or of another phase than one that is named."""
    import torch

    with _opened(path, made_of, phase) if team.leads else nullcontext() as file:
        told = team.tell(file.metadata()["state"] if file else "")
        if not told:
            return None
        names = set(json.loads(team.tell(json.dumps(list(file.keys())) if file else "")))

        def back(name: str, into: torch.Tensor) -> torch.Tensor:
            put(file.get_tensor(name) if file else None, into, team)
            return into

        for name, parameter in values.now.items():
            back(f"now.{name}", parameter.detach())
            # anew: the best at the beginning is kept for later phases
            values.best[name] = back(f"best.{name}", values.best[name].clone())
            kept = values.optimizer.state[parameter] = {}
            for key in MOMENTS:
                if (named := f"{key}.{name}") in names:
                    like = values.aside(parameter.detach())
                    blank = torch.zeros((), device=like.device) if key == "step" else like.clone()
                    kept[key] = back(named, blank)
    return State.read(told)


@contextmanager
def _opened(path: Path, made_of: str, phase: str | None) -> Iterator[Any]:
    """The file, where it is of that training and phase."""
    from safetensors import safe_open

    state = _state_in(path)
    if state is None or state.made_of != made_of or phase not in (None, state.phase):
        yield None
        return
    with safe_open(path, "pt") as file:
        yield file


def forget(directory: Path) -> None:
    """Drop the state that `train` left in `directory`: its result is kept."""
    for name in (STATE, RECENT):
        (directory / name).unlink(missing_ok=True)
