"""What is said of cost, and of the machine that it is on: the forms that costing.py fills in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sartor.errors import SettingError


@dataclass(frozen=True)
class Machine:
    """Where it would run, and what that costs."""

    gpu: str | None = None
    """A name in devices.toml, or an amount of memory; None: this machine."""
    gpus: int = 1
    watts: float | None = None
    """Of one device; None: as the table, or a guess by the kind of this machine, has it."""
    price: float = 0.0
    """Of an hour of the whole machine."""
    currency: str = "USD"
    processes: int | None = None
    """That train together on this machine; None: as this one was launched."""
    sharded: bool = False
    """Whether weights are divided among them, where no project says so."""

    def __post_init__(self) -> None:
        watts = 1.0 if self.watts is None else self.watts
        if self.gpus < 1 or not 0 <= self.price < math.inf or not 0 < watts < math.inf:
            raise SettingError(
                f"gpus is {self.gpus}, price {self.price:g}, watts {self.watts}: give 1 GPU or "
                "more, a price of 0 or more, and watts above 0, all finite."
            )
        if self.gpus > 1 and self.gpu is None:
            raise SettingError(
                "gpus is above 1, and no GPU is named. Say which: --gpu H100. Or say how many "
                "processes train together on this machine: --processes 2."
            )
        if self.processes is not None and self.gpu is not None:
            raise SettingError("--processes are of this machine; of GPUs elsewhere give --gpus.")

    @contextmanager
    def in_mind(self) -> Iterator[None]:
        """Estimates inside the block are of this machine's processes: on GPUs one for each."""
        from sartor.techniques.estimating.division import meant

        elsewhere = self.gpu is not None
        with meant(self.gpus if elsewhere else self.processes, on_gpus=elsewhere):
            yield


@dataclass(frozen=True)
class Costed:
    """One technique."""

    name: str
    seconds_to_customize: float
    seconds_an_epoch: float
    seconds_per_answer: float
    training_tokens: int
    peak_memory_bytes: int
    """Of each device."""
    watts: float
    energy_kwh: float
    """To customize, and to give the answers."""
    money: float
    """Of the machine, and what providers are paid."""
    fits: bool
    why: str
    how: str
    note: str
    paid: float = 0.0
    """To providers of remote models."""


@dataclass(frozen=True)
class Costs:
    """All techniques on one base."""

    base: str
    machine: str
    memory_bytes: int
    """Of each device."""
    gpus: int
    answers: int
    currency: str
    costed: tuple[Costed, ...]

    def told(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return asdict(self)
