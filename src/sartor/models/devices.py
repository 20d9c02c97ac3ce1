"""Machines that models run on, as data: `devices.toml`; and this machine, measured.

Nothing here loads a heavy library until this machine is asked about.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from sartor.errors import SettingError
from sartor.models.catalogue import size

FILE = Path(__file__).with_name("devices.toml")
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much memory a container may use."""
WATTS_A_CORE, WATTS_OF_A_GPU = 10.0, 350.0
"""Of a server's processor under load, its memory included; of a GPU whose maker's figure is not in
the table."""
CPU_BANDWIDTH = 20.0
"""GB a second from memory, of two channels; only for bases too large to be tried."""
TIMED = 0.3
"""Seconds that matrix products are repeated for; the fastest counts."""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, or the processors of a machine."""

    name: str
    memory: float
    """GB."""
    tflops: float
    """Dense, in bfloat16."""
    bandwidth: float
    """GB a second, of its memory."""
    watts: float


def devices() -> tuple[Device, ...]:
    """Every device, as the file has them."""
    return TypeAdapter(tuple[Device, ...]).validate_python(
        tomllib.loads(FILE.read_text("utf-8"))["device"]
    )


def device_named(text: str) -> Device:
    """A device by its name or a part of it, or by its memory ("80GB"): then the slowest with as
    much. SettingError for any other."""
    known = devices()
    wanted = re.sub(r"[\s_-]+", " ", text.casefold()).strip()
    for device in known:
        if device.name.casefold() == wanted:
            return device
    named = [device for device in known if wanted and wanted in device.name.casefold()]
    if named and not re.fullmatch(r"\d+ ?gb", wanted):
        return named[-1]
    names = [device.name for device in known]
    try:
        gigabytes = size(text) / 1e9
    except SettingError:
        gigabytes = 0.0
    enough = [device for device in known if device.memory >= gigabytes]
    if gigabytes > 0 and enough:
        like = min(enough, key=lambda device: (device.memory, device.tflops))
        return replace(like, name=f"GPU of {gigabytes:g} GB, like {like.name}", memory=gigabytes)
    near = difflib.get_close_matches(text, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}."
    raise SettingError(f"there is no GPU {text!r} in the table; {hint} Or give its memory: 80GB.")


def memory() -> int:
    """Bytes that this machine, or this container, has in all; of the GPU where that is used."""
    import torch

    from sartor.models import local

    if local.device().type == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    return host_memory()


def host_memory() -> int:
    """Bytes that this machine, or this container, has in all beside a GPU's."""
    import psutil

    said = [path.read_text().strip() for path in map(Path, LIMITS) if path.is_file()]
    limits = [int(limit) for limit in said if limit.isdigit()]  # else `max`
    return min([psutil.virtual_memory().total, *limits])


@dataclass(frozen=True, slots=True)
class Limit:
    """The most memory that a candidate may take, and why."""

    bytes: float
    why: str
    """Such as "this machine has 16.0 GB"."""
    of_gpu: bool = False
    """Whether the memory is a GPU's, beside which there is the machine's."""
    host: float = math.inf
    """Bytes of the machine's own memory beside a GPU's; endless where that is not known."""


_most: ContextVar[float | None] = ContextVar("most", default=None)


@contextmanager
def at_most(gigabytes: float | None) -> Iterator[None]:
    """Inside the block a candidate may take no more than that: what a project's `max_memory_gb`
    allows. None: all that there is."""
    token = _most.set(gigabytes)
    try:
        yield
    finally:
        _most.reset(token)


def limit(processes: int = 1) -> Limit:
    """What a candidate may take of this machine, or each of so many processes on it: on GPUs one
    for each, on a CPU all in the one memory."""
    from sartor.models import local

    gpu = local.device().type == "cuda"
    among, host = (1, host_memory() / processes) if gpu else (processes, math.inf)
    there, allowed = memory() / among, _most.get()
    shared = f" for each of {among} processes" if among > 1 else ""
    if allowed is not None and allowed * 1e9 / among < there:
        why = f"max_memory_gb in [criteria] allows {allowed / among:.3g} GB{shared}"
        return Limit(allowed * 1e9 / among, why, gpu, host)
    return Limit(float(there), f"this machine has {there / 1e9:.1f} GB{shared}", gpu, host)


def watts() -> float:
    """What this machine takes under load, about."""
    import torch

    if not torch.cuda.is_available():
        return WATTS_A_CORE * (os.cpu_count() or 1)
    name = torch.cuda.get_device_name().casefold()
    found = [device.watts for device in devices() if device.name.casefold() in name]
    return found[-1] if found else WATTS_OF_A_GPU


def signature() -> tuple[str, ...]:
    """What a measurement on this machine depends on, beside what is measured."""
    import platform

    import torch
    import transformers

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8", "replace").split("\n") if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (
        platform.machine(), *names[:1], str(os.cpu_count()), str(torch.get_num_threads()), gpu,
        str(memory()), torch.__version__, transformers.__version__,
    )  # fmt: skip


def this_machine() -> Device:
    """This machine, its matrix products timed."""
    import torch

    from sartor.models import local

    dtype = torch.bfloat16 if local.has_bf16() else torch.float32
    matrix = torch.full((2048, 2048), 0.01, dtype=dtype, device=local.device())
    tflops = 2e-12 * 2048**3 / _fastest(lambda: matrix @ matrix)
    gpu = local.device().type == "cuda"
    found = [d for d in devices() if gpu and d.name in torch.cuda.get_device_name()]
    bandwidth = found[-1].bandwidth if found else 1000.0 if gpu else CPU_BANDWIDTH
    return Device("this machine", memory() / 1e9, tflops, bandwidth, watts())


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs, after one that warms up."""
    import torch

    work()
    fastest, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < TIMED:
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest
