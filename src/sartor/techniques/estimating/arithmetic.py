"""Time and memory by arithmetic: for machines that one does not have, and bases too large to try.

Weights, optimizer and activations are counted as trained.py and training/loop.py hold them, work as
2 operations for a parameter forward, 4 back, 2 where weights are frozen; a device reaches a part of
what its maker states. Several processes divide the examples; with sharding also the base's weights,
and where these are trained their gradients and optimizer's state (Rajbhandari et al. 2020,
arXiv:1910.02054, section 5, stage 3).
"""

from __future__ import annotations

from sartor.models.devices import Device
from sartor.models.generation import BATCH_TOKENS, ROW_TOKENS
from sartor.models.outline import Outline
from sartor.techniques.estimating.workload import Workload
from sartor.training.processes import ROW

TRAINING, READING, MOVING = 0.4, 0.45, 0.6
"""Parts of a device's operations, and of its bandwidth, that training, reading prompts and writing
answers reach; assumed."""
HALF, WHOLE, QUANTIZED = 2.0, 4.0, 0.6
"""Bytes of a parameter: bfloat16, float32, and 4 bits with their scales and what stays as it is."""
MOMENTS = 8.0
STATE = 4.0 + 4.0 + MOMENTS
"""For each value that is trained: gradient, the best so far, Adam's moments."""
KEPT, KEPT_OF_OTHERS = 1.5, 3.0
"""Bytes for each input and output of a linear map that training holds for the way back: of gated
architectures, whose layers are derived by hand (training/fused.py), and of others. The first is
rounded up from 1.3 on one Llama of 47 M parameters; the second is assumed."""
LOGIT, LOGITS = 14.0, 1 << 22
"""Bytes of a logit, and how many are there at once (training/head.py)."""
BESIDE = 1.2e9
"""Bytes of a GPU that its libraries take."""
TOGETHER = 32
"""Answers that are written at once."""
LINK, LINK_ON_CPU = 25e9, 1e9
"""Bytes a second from one process to another: of GPUs on one bus, assumed, and of gloo."""


def peak_bytes(
    work: Workload, shape: Outline, parameters: float, new_tokens: int, *, quantized: bool = False
) -> float:
    """On each device, without what libraries take; of the process that leads, which answers."""
    answering = HALF * (parameters + _cache(work, shape, new_tokens))
    answering += HALF * _reading(work) * (shape.cached + shape.widths / shape.layers)
    answering = max(answering, work.other_bytes)
    if work.trains == "nothing":
        return answering
    return max(answering, training_bytes(work, shape, parameters, quantized))


def training_bytes(
    work: Workload, shape: Outline, parameters: float, quantized: bool = False
) -> float:
    """Of each process while it trains."""
    held, beside = held_bytes(work, parameters, quantized), at_once(work, shape)
    division = work.division
    if division.sharded:
        peak = held + beside + _gathered(work, shape, parameters)
        # a pack's memory is free while the state is gathered, but seldom given back
        return max(peak, _on_cpu(work, parameters, held) + beside) if division.on_cpu else peak
    return held + beside + _summed(work, shape)


def _summed(work: Workload, shape: Outline) -> float:
    """The row in which some gradients are while processes sum them, and what gloo holds of it, or
    of the largest tensor alone."""
    if work.division.processes == 1:
        return 0.0
    trained = work.trainable_parameters
    if not work.division.on_cpu:
        return WHOLE * min(trained, ROW["cuda"])
    largest = shape.vocabulary * shape.hidden if work.trains == "everything" else 0
    return WHOLE * min(trained, max(2 * ROW["cpu"], largest))


def held_bytes(work: Workload, parameters: float, quantized: bool = False) -> float:
    """What training holds from first to last, however few tokens go through at once."""
    trained, parts = work.trainable_parameters, 1
    if work.division.sharded:
        parts = work.division.processes
    if work.trains == "nothing":
        return HALF * parameters
    if work.trains == "everything":
        cast = HALF * parameters if parts == 1 else 0.0  # for products
        state = WHOLE if work.state_on_host else STATE
        if work.state_on_host and parts > 1:  # torch keeps all that is divided there
            return 0.0
        return cast + (WHOLE * parameters + state * trained) / parts
    each = QUANTIZED if quantized else HALF
    return each * parameters / parts + (WHOLE + STATE) * trained


def host_bytes(work: Workload, shape: Outline, parameters: float) -> float:
    """What training on a GPU keeps in the machine's memory, of each process."""
    inputs = work.tokens_at_once * shape.layers * shape.hidden * HALF
    kept = inputs if work.inputs_on_host else 0.0
    if not work.state_on_host:
        return kept
    if work.division.sharded:  # torch keeps all that is divided there
        trained = STATE * work.trainable_parameters
        return kept + (WHOLE * parameters + trained) / work.division.processes
    return kept + (STATE - WHOLE) * work.trainable_parameters  # all but the gradient


def _gathered(work: Workload, shape: Outline, parameters: float) -> float:
    """Of weights that are divided what is whole at once: two blocks, the embeddings and the head;
    where they are trained also the gradients of one, before and after they are summed."""
    ends = float(shape.vocabulary * shape.hidden)
    block = max(0.0, parameters - ends) / shape.layers
    whole = HALF * (2 * block + ends)
    return whole + (HALF + WHOLE) * max(block, ends) if work.trains == "everything" else whole


def _on_cpu(work: Workload, parameters: float, held: float) -> float:
    """Of divided weights what passes through the machine's memory besides: the whole base, as it is
    read, and the state, which the leader gathers to write it down."""
    if work.trains != "everything":
        return HALF * parameters
    gradients = WHOLE * work.trainable_parameters / work.division.processes
    whole = STATE * work.trainable_parameters
    return max(WHOLE * parameters, held - gradients + whole)


def at_once(work: Workload, shape: Outline) -> float:
    """Bytes of one pack on its way through the model and back."""
    gated = any("gate" in name for name, _ in shape.linears)
    kept = KEPT if gated else KEPT_OF_OTHERS
    scored = work.tokens_at_once * work.answer_tokens / (work.answer_tokens + work.prompt_tokens)
    logits = min(LOGITS, scored * shape.vocabulary) * LOGIT
    each = shape.widths * kept
    if work.runs_blocks_again:  # of every block what goes into it, and one block whole
        inputs = 0.0 if work.inputs_on_host else shape.layers * shape.hidden * HALF
        each = inputs + each / shape.layers
    return work.tokens_at_once * each + logits


def seconds(
    work: Workload, shape: Outline, active: float, device: Device, new_tokens: int,
    parameters: float | None = None,
) -> tuple[float, float, float]:  # fmt: skip
    """To customize, of one pass over the training examples, and of an answer; `active` parameters
    of all work on a token."""
    length = work.prompt_tokens + work.answer_tokens
    looking = 2 * shape.layers * shape.hidden * length  # two products, half of them hidden
    forward = 2 * active + looking
    back = 2 if work.trains == "everything" else 1
    rate = device.tflops * 1e12 * TRAINING
    token = forward * (1 + back) / rate * work.largest_part
    passed = passing(work, active if parameters is None else parameters)
    token += passed / max(1, work.training_tokens)
    watched = (work.looks * work.watched_tokens + work.read_tokens) * forward / rate
    watched /= work.division.processes
    written = min(work.answer_tokens, new_tokens)
    read = work.prompt_tokens * forward / (device.tflops * 1e12 * READING)
    moved = HALF * (active + _cache(work, shape, new_tokens)) / TOGETHER
    write = written * max(
        moved / (device.bandwidth * 1e9 * MOVING), forward / (device.tflops * 1e12 * READING)
    )
    asked = work.asked_prompt_tokens * read / work.prompt_tokens
    asked += work.asked_new_tokens * write / max(1e-9, written)
    training = min(work.training_tokens * token + watched, _budgeted(work, token))
    return training + asked, work.epoch_tokens * token, read + write


def passing(work: Workload, parameters: float) -> float:
    """Seconds in which weights and gradients pass between processes, of the whole training; none
    of them is taken to be hidden behind other work."""
    division = work.division
    sent = 2 * WHOLE * work.trainable_parameters * work.steps  # gradients, there and back
    if division.sharded:
        parts = work.largest_part * work.training_tokens
        packs = max(work.steps, parts / max(1, work.tokens_at_once))
        gathered = 2 * HALF * parameters  # forward, and again on the way back
        summed = WHOLE * parameters if work.trains == "everything" else 0.0
        sent = packs * (gathered + summed) + (sent if work.trains == "adapter" else 0.0)
    return division.others * sent / (LINK_ON_CPU if division.on_cpu else LINK)


def _budgeted(work: Workload, token: float) -> float:
    """The most seconds that a search may take: its budget, and the run that it ends in."""
    return work.most_seconds + work.training_tokens / work.runs * token


def _cache(work: Workload, shape: Outline, new_tokens: int) -> float:
    """Keys and values of all answers that are written at once."""
    each = work.longest_prompt + new_tokens
    return max(each, min(BATCH_TOKENS, TOGETHER * each)) * shape.cached


def _reading(work: Workload) -> int:
    """Prompt tokens that are read at once, whose keys and values are there twice meanwhile."""
    return min(TOGETHER * work.longest_prompt, max(ROW_TOKENS, work.longest_prompt))
