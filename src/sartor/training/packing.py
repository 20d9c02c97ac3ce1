"""Examples as tokens, packed: many in one row, none seeing another, scored at their answers only.

A pack is one row without padding, in which what examples begin with stands once (sharing.py).
Attention runs over each example by itself, positions are its own, and the vocabulary head sees only
those whose next token belongs to an answer. Models that do not run packs are given padded batches
instead (padded.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sartor.data.records import Example
from sartor.errors import TrainingError
from sartor.models import chat
from sartor.models.memory import trim
from sartor.models.prefix import Prefix
from sartor.training.fitted import Fitted
from sartor.training.order import alike
from sartor.training.pack_size import is_wide, together
from sartor.training.packed_attention import is_packed
from sartor.training.padded import goes_alone, padded
from sartor.training.sharing import Row, Sequenced, added, laid_out

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item", bound=Sequenced)


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as tokens: the prompt, then the answer with its end-of-turn token."""

    id: str
    tokens: tuple[int, ...]
    prompt: int
    """How many of the tokens are the prompt's: not scored."""


def encode(tokenizer: Any, examples: Sequence[Example], context: int) -> list[Encoded]:
    """Tokens of all examples; answers are cut to the context, prompts that fill it are left out."""
    if not examples:
        raise TrainingError(
            "there are no examples to train on, or none to validate on. Add examples, or raise "
            "data.validation_fraction."
        )
    encoded, fitted = [], Fitted(context)
    for example in examples:
        prompt = chat.encode(tokenizer, example.input)
        answer = chat.encode_answer(tokenizer, example.targets[0])
        if tokens := fitted.tokens(prompt, answer):
            encoded.append(Encoded(example.id, tokens, len(prompt)))
    fitted.tell()
    return encoded


def packs(examples: Sequence[Item], tokens: int, *, shared: bool = False) -> Iterator[list[Item]]:
    """Neighbours together, as long as they have at most `tokens` tokens; `shared` puts those that
    begin alike next to each other, and counts what they share once."""
    pack: list[Item] = []
    size = 0
    for example in _kin_together(examples) if shared else examples:
        more = len(example.tokens)
        if shared and pack:
            more = added(pack[-1], example)
        if pack and size + more > tokens:
            yield pack
            pack, size, more = [], 0, len(example.tokens)
        pack.append(example)
        size += more
    if pack:
        yield pack


def _kin_together(examples: Sequence[Item]) -> list[Item]:
    """In their order, but those that share most of a prompt where the first of them stands."""
    groups = sorted(sorted(group) for group in alike(examples))
    return [examples[place] for group in groups for place in group]


def at_once(network: Any, tokens: int) -> int:
    """How many of so many tokens go through the network together."""
    if network.device.type != "cpu" or not is_packed(network):
        return tokens
    return together(tokens, _width(network))


def make_room(network: Any) -> None:
    """Before a pack: what packs of other sizes left free in the heap is of no use to it.

    Only of wide networks whose weights are held in float32 on a CPU, where it is a tenth of the
    memory for a thirtieth of the time; of narrow ones it would be a tenth of the time, and so it
    would of those held in bfloat16, for a twenty-fifth of the memory.
    """
    if network.device.type == "cpu" and is_wide(_width(network)) and _held_in_float32(network):
        trim()


def _held_in_float32(network: Any) -> bool:
    return int(network.get_input_embeddings().weight.element_size()) > 2


def _width(network: Any) -> int:
    return int(network.get_input_embeddings().weight.shape[1])


def answer_loss(
    network: Any, pack: Sequence[Encoded], virtual: torch.Tensor | Prefix | None = None
) -> tuple[torch.Tensor, int]:
    """(sum of the cross-entropy over the pack's answer tokens, how many they are).

    `virtual`, embeddings (virtual tokens, hidden) or a Prefix, is put before every example. Whether
    the pack goes through in one row has been decided by `use_packed_attention`.
    """
    import torch

    from sartor.training import head

    found, labels, is_hidden, _ = before_loss(network, pack, virtual)
    if is_hidden:
        loss = head.summed_loss(found, network.get_output_embeddings(), labels)
    else:
        loss = torch.nn.functional.cross_entropy(found.float(), labels, reduction="sum")
    return loss, len(labels)


def before_loss(
    network: Any, pack: Sequence[Encoded], virtual: torch.Tensor | Prefix | None = None
) -> tuple[torch.Tensor, torch.Tensor, bool, Sequence[int]]:
    """What gives the next tokens (answer tokens, width), those tokens (answer tokens), whether the
    first are hidden states, for the network's plain head, or else logits, and the places in the
    pack of the examples that they are of, in turn: as sharing.py lays them out where the model
    runs packs.
    """
    import torch

    from sartor.models.rotary import apart
    from sartor.training import head
    from sartor.training.answers_only import is_narrowed, scoring

    before = 0 if virtual is None else len(virtual)
    groups = apart(network, [len(e.tokens) + before for e in pack])
    if goes_alone(network):
        groups = [[place] for place in range(len(pack))]
    if len(groups) > 1:
        parts = [before_loss(network, [pack[i] for i in group], virtual) for group in groups]
        order = [g[i] for g, part in zip(groups, parts, strict=True) for i in part[3]]
        found, labels = (torch.cat(of_all) for of_all in list(zip(*parts, strict=True))[:2])
        return found, labels, parts[0][2], order
    if not is_packed(network):
        return *padded(network, pack, virtual), False, range(len(pack))
    in_row = virtual is not None and not isinstance(virtual, Prefix)
    row = laid_out(pack, len(virtual) if virtual is not None and in_row else 0)
    labels = torch.tensor(row.labels, device=network.device)
    scored = torch.tensor(row.scored, device=network.device)
    with scoring(network, scored):
        if head.is_plain(network):
            hidden = _run(network.get_decoder(), network, row, virtual)[0][0]
            hidden = hidden if is_narrowed(network) else hidden[scored]
            return hidden, labels, True, row.order
        logits = _run(network, network, row, virtual, logits_to_keep=scored).logits[0]
        return logits, labels, False, row.order


def _run(
    module: Any, network: Any, row: Row, virtual: torch.Tensor | Prefix | None, **more: Any
) -> Any:
    """What the network, or its decoder, gives for one row of all examples."""
    import torch

    place = network.device
    tokens = torch.tensor(row.tokens, device=place)
    positions = torch.tensor(row.positions, device=place)[None]
    given: dict[str, Any] = {"input_ids": tokens[None]}
    if isinstance(virtual, Prefix):
        positions = positions + len(virtual)
        given["prefix"] = virtual.layers
    elif virtual is not None:
        embedded = network.get_input_embeddings()(tokens)
        given = {"inputs_embeds": torch.cat([virtual.to(embedded.dtype), embedded])[None]}
    lower = keeps_lower(network) if virtual is None else None
    if lower is not None:
        lower.begin(row)
    made = module(**given, position_ids=positions, use_cache=False, spans=row.spans, **more)
    if lower is not None:
        lower.end(row)
    return made


def keeps_lower(network: Any) -> Any:
    """What keeps the hidden states of the network's frozen lower blocks (lower.py), if anything."""
    return getattr(network, "_sartor_lower", None)
