"""Several processes that train together, as `torchrun` starts them.

Each has a share of every step's examples; gradients are summed, so that all make the same step and
hold the same values. What is decided (a loss that is no number, memory that ran out, when to stop)
is decided by all from the same figures. Process 0 leads: it alone reads and writes the state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from sartor.errors import ProcessError, TrainingError
from sartor.models.libraries import reason
from sartor.training.objective import Item

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
ROW = {"cpu": 1 << 20, "cuda": 1 << 23}
"""Values of gradients that are sent together; a larger tensor goes alone. Gloo holds what it sends
once more; NCCL is slow with little."""
WAIT = timedelta(minutes=30)
"""How long processes wait for one another; one that has died is noticed at once."""


def launched() -> tuple[int, int]:
    """(number of this process, how many there are), from what the launcher left; (0, 1) alone."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True)
class Team:
    """The processes that train together: one, where no others have joined."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, batch: Sequence[Item]) -> list[Item]:
        """This process's part of a batch, shortest first: what begins alike stays together, and all
        parts have about as many tokens."""
        if self.size == 1:
            return list(batch)
        ordered = sorted(batch, key=lambda e: (e.tokens, e.id))
        ranks = dealt([len(example.tokens) for example in ordered], self.size)
        mine = [e for e, rank in zip(ordered, ranks, strict=True) if rank == self.rank]
        return sorted(mine, key=lambda e: len(e.tokens))

    def divided(
        self, items: Sequence[T], work: Callable[[Sequence[T]], Sequence[Sequence[float]]],
        figures: int = 1, *, in_step: bool = False,
    ) -> list[tuple[float, ...]]:  # fmt: skip
        """So many figures for each item, as `work` gives them for some neighbours: each process
        works on a part, and all are told everything. Where they must go `in_step`, each works on
        all, and the leader's are taken."""
        first, end = (len(items) * rank // self.size for rank in (self.rank, self.rank + 1))
        if in_step:
            first, end = 0, len(items)
        mine = [0.0] * (len(items) * figures)
        own = work(items[first:end]) if end > first else ()
        mine[first * figures : end * figures] = [figure for made in own for figure in made]
        found = self.gather(*mine)
        told = list(found[0]) if in_step else [sum(one) for one in zip(*found, strict=True)]
        return [tuple(told[at : at + figures]) for at in range(0, len(told), figures)]

    def gather(self, *figures: float) -> list[tuple[float, ...]]:
        """The figures of every process, in the order of their numbers."""
        if self.size == 1:
            return [figures]
        import torch

        mine = torch.tensor(figures, dtype=torch.float64)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        with _heard(self.rank):
            torch.distributed.all_gather(found, mine)
        return [tuple(one.tolist()) for one in found]

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Give every process the sum of all gradients, some tensors of one kind at a time: one row
        of them all would take as much memory again."""
        if self.size == 1:
            return
        import torch

        by_kind: dict[tuple[torch.dtype, torch.device], list[torch.nn.Parameter]] = {}
        for parameter in parameters:
            if hasattr(parameter, "full_tensor"):  # a part, summed on the way back (sharding.py)
                continue
            if parameter.grad is None:  # no example here, or none that it took part in
                parameter.grad = torch.zeros_like(parameter)
            by_kind.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        for group in (some for kind in by_kind.values() for some in _rows(kind)):
            grads = [p.grad for p in group if p.grad is not None]
            self._sum(grads)

    def _sum(self, grads: Sequence[torch.Tensor]) -> None:
        """In place: rows that gradients live in lie scattered."""
        import torch

        alone = len(grads) == 1 and grads[0].is_contiguous()
        row = grads[0] if alone else torch.cat([grad.reshape(-1) for grad in grads])  # (values,)
        with _heard(self.rank):
            torch.distributed.all_reduce(row)
        if not alone:
            parts = torch.split(row, [grad.numel() for grad in grads])
            for grad, part in zip(grads, parts, strict=True):
                grad.copy_(part.view_as(grad))

    def spread(self, tensor: torch.Tensor) -> torch.Tensor:
        """The leader's tensor, in every process."""
        if self.size > 1:
            import torch

            with _heard(self.rank), torch.no_grad():
                torch.distributed.broadcast(tensor, 0)
        return tensor

    def tell(self, text: str) -> str:
        """The leader's text, in every process."""
        if self.size == 1:
            return text
        import torch

        data = text.encode()
        size = int(self.spread(torch.tensor([len(data)]))[0])
        if not size:
            return ""
        held = torch.zeros(size, dtype=torch.uint8)
        if self.leads:
            held = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return self.spread(held).numpy().tobytes().decode()

    def led(self, work: Callable[[], Any]) -> None:
        """Let the leader alone do it; where that fails, all stop, and none waits for it."""
        failed: Exception | None = None
        if self.leads:
            try:
                work()
            except Exception as error:
                failed = error
        [(wrong,), *_] = self.gather(float(failed is not None))
        if failed:
            raise failed
        if wrong:
            raise TrainingError("process 0 failed at what it alone does; see what it says")


def dealt(sizes: Sequence[int], among: int) -> list[int]:
    """Which of so many processes has each: neighbours together, and as much in each as can be."""
    whole, ends = sum(sizes), accumulate(sizes)
    return [int((end - size / 2) * among / whole) for size, end in zip(sizes, ends, strict=True)]


def _rows(parameters: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Neighbours on one device, as long as they have at most `ROW` values together."""
    row: list[torch.nn.Parameter] = []
    values, most = 0, ROW[parameters[0].device.type]
    for parameter in parameters:
        if row and values + parameter.numel() > most:
            yield row
            row, values = [], 0
        row.append(parameter)
        values += parameter.numel()
    yield row


ALONE = Team()
_team = ALONE


def team() -> Team:
    """The processes that have joined."""
    return _team


def join() -> Team:
    """Meet the other processes that were launched, if any; ProcessError where they do not come."""
    global _team
    rank, size = launched()
    if size == 1 or _team.size > 1:
        return _team
    import torch

    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    with _heard(rank):
        torch.distributed.init_process_group(backend, timeout=WAIT)
    _team = Team(rank, size)
    return _team


def leave() -> None:
    """Part from the others."""
    global _team
    if _team.size > 1:
        import torch

        torch.distributed.destroy_process_group()
    _team = ALONE


@contextmanager
def heard(rank: int) -> Iterator[None]:
    """While a network runs whose weights others hold too: ProcessError where one of these is gone;
    other errors as they are."""
    try:
        yield
    except RuntimeError as error:
        if any(word in str(error) for word in ("gloo", "NCCL", "Connection", "ProcessGroup")):
            with _heard(rank):
                raise
        raise


@contextmanager
def _heard(rank: int) -> Iterator[None]:
    """While others are waited for: ProcessError where one of them is gone."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        found = reason(error)[:200]
        raise ProcessError(
            f"process {rank} has lost another one of those that train together ({found}). See what "
            "that one said last; start all again, and they go on from the last look."
        ) from error
