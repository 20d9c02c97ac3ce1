"""How likely given texts are as answers: what multiple choice and perplexity are made from.

A model scores continuations when it is a local one, or when it has a method `log_likelihoods` of
its own. Whatever stands before the prompt (virtual tokens, a prefix) stands before it here, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sartor.data.records import Conversation
from sartor.errors import NoLikelihoodError
from sartor.models import chat
from sartor.models.padded_generation import must_go_alone, parameters_of

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = 8_192
"""Tokens put through together; bounds the memory of a batch."""


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """Of one continuation."""

    total: float
    """Natural log of its probability."""
    tokens: int
    greedy: bool
    """Whether each of its tokens is the likeliest."""


@runtime_checkable
class ScoringLanguageModel(Protocol):
    """A language model that also scores given continuations."""

    def log_likelihoods(
        self, conversations: Sequence[Conversation], continuations: Sequence[Sequence[str]]
    ) -> list[list[LogLikelihood | None]]:
        """As the function of that name."""
        ...


def log_likelihoods(
    model: Any, conversations: Sequence[Conversation], continuations: Sequence[Sequence[str]]
) -> list[list[LogLikelihood | None]]:
    """For each conversation that of each of its continuations; None where it has no room.

    Raises NoLikelihoodError for a model that scores no given texts (a remote one, a wrapped one
    that does not say how).
    """
    if isinstance(model, ScoringLanguageModel):
        return model.log_likelihoods(conversations, continuations)
    if not all(hasattr(model, part) for part in ("network", "tokenizer", "card")):
        raise NoLikelihoodError(
            f"{type(model).__name__} does not score given texts; expected a local model, or one "
            "with a method `log_likelihoods`. Take a local base, or choose by generation."
        )
    return _by_network(model, conversations, continuations)


def likeliest(options: Sequence[LogLikelihood | None]) -> int | None:
    """The place of the best by mean log probability of its tokens; None where none has room."""
    means = {place: one.total / one.tokens for place, one in enumerate(options) if one}
    return max(means, key=means.__getitem__, default=None)


def _by_network(
    model: Any, conversations: Sequence[Conversation], continuations: Sequence[Sequence[str]]
) -> list[list[LogLikelihood | None]]:
    """In rows where the network runs so, else in batches of one length."""
    rows = _rows(model, conversations, continuations)
    found: list[list[LogLikelihood | None]] = [[None] * len(texts) for texts in continuations]
    if rows and not must_go_alone(model.network, model.virtual):
        from sartor.models.packed_forward import runs_rows

        if runs_rows(model.network, model.virtual):
            for number, place, likelihood in _packed(model, rows):
                found[number][place] = likelihood
            return found
    virtual = 0 if model.virtual is None else len(model.virtual)
    rows.sort(key=lambda row: (len(row[2]) + len(row[3]), row[2], row[3]))
    for batch in _batches(rows, virtual):
        scored = _scored(model, [(prompt, answer) for _, _, prompt, answer in batch])
        for (number, place, _, _), likelihood in zip(batch, scored, strict=True):
            found[number][place] = likelihood
    return found


def _packed(
    model: Any, rows: Sequence[tuple[int, int, list[int], list[int]]]
) -> Iterator[tuple[int, int, LogLikelihood]]:
    import torch

    from sartor.models.packed_likelihood import packed_logits

    by_prompt: dict[int, list[tuple[int, int, list[int], list[int]]]] = {}
    for row in rows:
        by_prompt.setdefault(row[0], []).append(row)
    of = list(by_prompt.values())
    prompts, answers = [some[0][2] for some in of], [[row[3] for row in some] for some in of]
    with torch.inference_mode():
        for prompt, answer, logits in packed_logits(model.network, prompts, answers, model.virtual):
            number, place, _, wanted = of[prompt][answer]
            yield number, place, _likelihood(logits, torch.tensor(wanted, device=logits.device))


def _rows(
    model: Any, conversations: Sequence[Conversation], continuations: Sequence[Sequence[str]]
) -> list[tuple[int, int, list[int], list[int]]]:
    """Of every continuation that there is room for: whose and which it is, prompt and answer."""
    virtual = 0 if model.virtual is None else len(model.virtual)
    rows: list[tuple[int, int, list[int], list[int]]] = []
    for number, (asked, texts) in enumerate(zip(conversations, continuations, strict=True)):
        prompt = chat.encode(model.tokenizer, asked) if asked else [model.tokenizer.eos_token_id]
        for place, text in enumerate(texts):
            answer = chat.encode_answer(model.tokenizer, text)[:-1]
            if answer and virtual + len(prompt) + len(answer) <= model.card.context:
                rows.append((number, place, prompt, answer))
    return rows


def _batches(
    rows: Sequence[tuple[int, int, list[int], list[int]]], virtual: int
) -> Iterator[list[tuple[int, int, list[int], list[int]]]]:
    """Of one length each, so that nothing is padded and every architecture scores alike."""
    batch: list[tuple[int, int, list[int], list[int]]] = []
    for row in rows:
        length = len(row[2]) + len(row[3])
        same = batch and len(batch[0][2]) + len(batch[0][3]) == length
        if batch and (not same or (length + virtual) * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _scored(model: Any, pairs: Sequence[tuple[list[int], list[int]]]) -> list[LogLikelihood]:
    import torch

    network = model.network
    ids = torch.tensor([prompt + answer for prompt, answer in pairs], device=network.device)
    last = max(len(answer) for _, answer in pairs) + 1  # the token before it foretells its first
    with torch.inference_mode():
        logits = _logits(network, ids, model.virtual, last)  # (batch, last, vocabulary)
        found = []
        for row, (prompt, answer) in enumerate(pairs):
            there = logits[row, -len(answer) - 1 : -1].float()  # (answer, vocabulary)
            found.append(_likelihood(there, ids[row, len(prompt) :]))
    return found


def _likelihood(logits: torch.Tensor, wanted: torch.Tensor) -> LogLikelihood:
    """Of tokens (answer,), by the logits (answer, vocabulary) that they were chosen from."""
    chosen = logits.log_softmax(-1).gather(1, wanted[:, None])
    greedy = bool((logits.argmax(-1) == wanted).all())
    return LogLikelihood(float(chosen.sum()), len(wanted), greedy)


def _logits(network: Any, ids: torch.Tensor, virtual: Any, last: int) -> Any:
    """(batch, last, vocabulary): of so many places at the end, as most of a prompt foretells
    nothing that is asked for, and a vocabulary may be wider than a hundred thousand."""
    import torch

    given: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    if "logits_to_keep" in parameters_of(type(network)):
        given["logits_to_keep"] = last
    if isinstance(virtual, torch.Tensor):
        before = virtual.to(network.device)[None].expand(len(ids), -1, -1)
        read = network.get_input_embeddings()(given.pop("input_ids"))
        given["inputs_embeds"] = torch.cat([before.to(read.dtype), read], dim=1)
    elif virtual is not None:
        length = len(virtual) + ids.shape[1]
        given["past_key_values"] = virtual.cache(network, len(ids))
        given["attention_mask"] = torch.ones(len(ids), length, dtype=torch.long, device=ids.device)
        del given["use_cache"]
    return network(**given).logits[:, -last:]
