"""How fast this machine runs a base model: timed in seconds, before its weights are needed.

Copies of the model with one and with two of its layers, made from its configuration, do a little of
each kind of work; what the second layer adds, times the layers, is the whole. Models that this does
not suit (too large, layers that differ) are counted instead, at the rate of this machine's matrix
products. Knows nothing of techniques or data.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.errors import MissingExtraError
from sartor.models import local
from sartor.models.language_model import ModelCard
from sartor.models.outline import configuration, empty_network

if TYPE_CHECKING:
    import torch

BATCH = 32
"""Answers that are written at once."""
ROWS, PROMPT = 4, 256
"""What is read and trained on at once; training scores the last quarter of each row."""
TIMED = 0.3
"""Seconds that each kind of work is repeated for; the fastest counts."""
LARGEST = 1 << 25
"""Parameters a layer; more would take minutes and gigabytes to try."""
LARGEST_HEAD = 1 << 24
"""Parameters; larger vocabularies are cut, and their time is scaled."""
ALIKE = 0.2
"""How far the parameters of one layer, times the layers, may be from all there are."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second on this machine, and what its libraries take before a model is loaded."""

    prompt_tokens_per_second: float
    new_tokens_per_second: float
    """Of `BATCH` answers that are written together, all of them counted."""
    training_tokens_per_second: float
    """All weights trained."""
    adapter_tokens_per_second: float
    """An adapter trained beside frozen weights."""
    resident_bytes: int
    how: str
    """How this came to be known, for people."""


Seconds = tuple[float, float, float, float]
"""A token of a prompt, of an answer, of full training, of an adapter's training."""


def measure(card: ModelCard) -> Speed:
    """Try this machine at the work of `card`, for some seconds.

    Raises ModelError where there is no configuration to try it by.
    """
    import psutil

    config = configuration(card)
    try:
        import peft  # noqa: F401  (a run imports it too, and its memory counts)
    except ModuleNotFoundError as error:
        raise MissingExtraError("an estimate", "peft", "local") from error
    resident = psutil.Process().memory_info().rss
    try:
        seconds, how = (
            _timed(card, config),
            f"timed on 1 and 2 of {config.num_hidden_layers} layers",
        )
    except Exception as error:  # an architecture may refuse in any way; `how` tells
        seconds, rate = _counted(card)
        reason = str(error).split("\n")[0]
        how = f"counted from its parameters at {rate:.0f} GFLOP/s; not timed: {reason}"
    prompt, new, training, adapter = (1 / each for each in seconds)
    return Speed(prompt, new, training, adapter, resident, how)


def _timed(card: ModelCard, config: Any) -> Seconds:
    """From copies with one and two layers; ValueError for a model that this does not suit."""
    import torch

    _refuse_unlike(card, config)
    small = copy.deepcopy(config)
    small.vocab_size = min(config.vocab_size, LARGEST_HEAD // config.hidden_size)
    small.pad_token_id = None  # it may lie beyond the vocabulary's cut
    length = min(PROMPT, card.context // 2)

    def seconds(work: Callable[[Any, int], float], dtype: torch.dtype) -> float:
        one, two = (work(_filled(card, small, n, dtype), length) for n in (1, 2))
        layer = min(max(two - one, 0.1 * two), 0.5 * two)  # noise must not make it nothing, or all
        rest = max(0.0, one - layer) * config.vocab_size / small.vocab_size
        return float(config.num_hidden_layers * layer + rest)

    running = local.inference_dtype(card)
    frozen = torch.bfloat16 if local.has_bf16() else torch.float32
    answering = seconds(_read, running), seconds(_write, running)
    return (*answering, seconds(_train, torch.float32), seconds(_adapt, frozen))


def _refuse_unlike(card: ModelCard, config: Any) -> None:
    one, two = (_parameters(empty_network(card, config, n)) for n in (1, 2))
    if two - one > LARGEST:
        raise ValueError(f"a layer has {two - one:,} parameters")
    if abs((one + (config.num_hidden_layers - 1) * (two - one)) / card.parameters - 1) > ALIKE:
        raise ValueError("its layers differ")


def _parameters(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _filled(card: ModelCard, config: Any, layers: int, dtype: torch.dtype) -> Any:
    """A network whose weights are all alike: matrix products take no less time for it."""
    import torch

    network = empty_network(card, config, layers, dtype=dtype).to_empty(device=local.device())
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.fill_(0.01 if tensor.is_floating_point() else 0)
    return network


def _read(network: Any, length: int) -> float:
    import torch

    ids = torch.zeros(ROWS, length, dtype=torch.long, device=network.device)
    with torch.inference_mode():
        return _fastest(lambda: network(input_ids=ids, logits_to_keep=1)) / (ROWS * length)


def _write(network: Any, length: int) -> float:
    """A token for each of `BATCH` answers, behind prompts that were read already."""
    import torch

    ids = torch.zeros(BATCH, length, dtype=torch.long, device=network.device)
    mask = torch.ones(BATCH, 2 * length, dtype=torch.long, device=network.device)
    with torch.inference_mode():
        cache = network(input_ids=ids[:1], use_cache=True).past_key_values
        cache.batch_repeat_interleave(BATCH)

        def work() -> None:
            seen = cache.get_seq_length() + 1
            network(
                input_ids=ids[:, :1], attention_mask=mask[:, :seen], past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            ).logits.argmax(-1).tolist()  # fmt: skip

        return _fastest(work, most=length // 2) / BATCH


def _train(network: Any, length: int) -> float:
    import torch

    half = torch.autocast(network.device.type, torch.bfloat16, enabled=local.has_bf16())
    ids = torch.zeros(ROWS, length, dtype=torch.long, device=network.device)
    labels = ids[:, : length // 4].flatten()

    def work() -> None:
        with half:
            out = network(input_ids=ids, use_cache=False, logits_to_keep=length // 4)
        logits = out.logits.flatten(0, 1).float()  # (scored tokens, vocabulary)
        torch.nn.functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
        network.zero_grad(set_to_none=True)

    return _fastest(work) / (ROWS * length)


def _adapt(network: Any, length: int) -> float:
    import peft

    adapter = peft.LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as weights.py does: PEFT's own, of transformers
        adapted = peft.get_peft_model(network, adapter)
    return _train(adapted, length)


def _fastest(work: Callable[[], object], most: int = 1000) -> float:
    """Seconds of the fastest of some runs, after one that warms up."""
    work()
    fastest, began = float("inf"), time.perf_counter()
    for _ in range(most):
        start = time.perf_counter()
        work()
        _finish()
        fastest = min(fastest, time.perf_counter() - start)
        if time.perf_counter() - began > TIMED:
            break
    return fastest


def _finish() -> None:
    """Wait for the accelerator, where there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _counted(card: ModelCard) -> tuple[Seconds, float]:
    """Seconds a token, and GFLOP a second: 2 FLOP a parameter forward and 4 back, 2 if frozen."""
    import torch

    def seconds_a_flop(rows: int, dtype: torch.dtype) -> float:
        matrix = torch.full((4096, 4096), 0.01, dtype=dtype, device=local.device())
        return _fastest(lambda: matrix[:rows] @ matrix) / (2 * rows * matrix.numel())

    running = local.inference_dtype(card)
    reading, writing = seconds_a_flop(ROWS * PROMPT, running), seconds_a_flop(BATCH, running)
    half = torch.bfloat16 if local.has_bf16() else torch.float32
    training = seconds_a_flop(ROWS * PROMPT, half)
    each = card.parameters
    seconds = (2 * each * reading, 2 * each * writing, 6 * each * training, 4 * each * training)
    return seconds, 1e-9 / reading
