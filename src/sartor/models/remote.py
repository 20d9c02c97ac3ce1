"""Remote models: answers from any OpenAI-compatible endpoint, each paid for once.

    [remote.gpt-mini]
    endpoint = "https://api.example.com/v1"
    model = "gpt-4o-mini"
    api_key_env = "EXAMPLE_API_KEY"

To the rest of sartor a `RemoteModel` is a language model like any other; `described` is its card.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sartor.data.files import digest
from sartor.data.records import Conversation
from sartor.errors import ModelError
from sartor.models.language_model import Completion, ModelCard, Sampling
from sartor.models.remote_exchange import Asked, Exchange
from sartor.models.remote_key import Key
from sartor.models.remote_ledger import Kept, Ledger
from sartor.models.remote_tokens import estimated_prompt, most_prompt
from sartor.progress import say
from sartor.project import Remote

ARCHITECTURE = "remote"
FOLDER = "remote"
"""In `.sartor`: a folder for each remote model."""
SEEDS = 2**32


def described(name: str, remote: Remote, project: Path) -> ModelCard:
    """The card of a remote model; nothing is asked of it."""
    depends = remote.model_dump(include={"endpoint", "model", "context", "omit", "parameters"})
    return ModelCard(
        name=name,
        path=str(folder_of(name, project)),
        revision=digest(ARCHITECTURE, depends),
        architecture=ARCHITECTURE,
        parameters=0,
        context=remote.context,
        remote=remote,
    )


def folder_of(name: str, project: Path) -> Path:
    """Where a remote model's answers are kept, in a project."""
    return project / ".sartor" / FOLDER / name


def refuse_unready(card: ModelCard) -> None:
    """RemoteError where the key of a remote model is not in the environment."""
    Key.of(card.name, _remote(card))


def is_open_to_others(card: ModelCard) -> bool:
    """Whether its key crosses a network unencrypted."""
    found = _remote(card)
    address = urlsplit(found.endpoint)
    here = address.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(found.api_key_env) and address.scheme == "http" and not here


def paid(card: ModelCard) -> float:
    """All that was paid for a remote model in this project, in the project's currency."""
    return Ledger(Path(card.path)).paid()


class RemoteModel:
    """Answers conversations over the network, several at once."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.remote = _remote(card)
        self._folder = Path(card.path)
        self._exchange = self._new_exchange()

    def prompt_tokens(self, conversation: Conversation) -> int:
        """About how many tokens a prompt has; rather too many than too few."""
        return estimated_prompt(conversation)

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        """One completion for each conversation, in order; what was asked before is not sent again.

        Raises RemoteError or BudgetError at the first that cannot be had; answers that came until
        then are kept. PromptTooLongError where the endpoint finds one too long.
        """
        asked = [self._asked(conversation, sampling) for conversation in conversations]
        answers = self._exchange.ledger.find([one.request for one in asked])
        missing = {one.request: one for one in asked if one.request not in answers}
        if missing:
            answers |= self._sent_at_once(list(missing.values()))
        return [_completion(answers[one.request]) for one in asked]

    def stream(self, conversation: Conversation, sampling: Sampling) -> Iterator[str | Completion]:
        """Pieces of text, and last the whole `Completion`; a kept answer is one piece."""
        asked = self._asked(conversation, sampling)
        if kept := self._exchange.ledger.find([asked.request]).get(asked.request):
            if kept.text:
                yield kept.text
            yield _completion(kept)
            return
        for piece in self._exchange.stream(asked):
            yield piece if isinstance(piece, str) else _completion(piece)

    def _new_exchange(self) -> Exchange:
        return Exchange(self.card.name, self.remote, self._folder)

    def _asked(self, conversation: Conversation, sampling: Sampling) -> Asked:
        body = self._body(conversation, sampling)
        prompt = estimated_prompt(conversation)
        return Asked(
            request=digest(self.remote.endpoint, body),
            body=body,
            estimated_tokens=prompt + sampling.max_new_tokens,
            most_prompt=most_prompt(conversation, self.remote.parameters),
            prompt_tokens=prompt,
            new_tokens=sampling.max_new_tokens,
        )

    def _body(self, conversation: Conversation, sampling: Sampling) -> dict[str, Any]:
        """A chat completion as OpenAI's API has it. Greedy answers depend on no seed, so that the
        same question is the same request."""
        seed = sampling.seed % SEEDS if sampling.temperature > 0 else 0
        settled: Mapping[str, Any] = {
            "temperature": sampling.temperature,
            "seed": seed,
            "stop": list(sampling.stop) or None,
        }
        return {
            "model": self.remote.model,
            "messages": [{"role": m.role, "content": m.content} for m in conversation],
            self.remote.token_limit: sampling.max_new_tokens,
            **{
                name: value
                for name, value in settled.items()
                if value is not None and name not in self.remote.omit
            },
            **self.remote.parameters,
        }

    def _sent_at_once(self, asked: Sequence[Asked]) -> dict[str, Kept]:
        """Answers by request; at the first failure nothing more is sent."""
        exchange = self._exchange
        _ = exchange.key  # a missing key is told once, and before anything is sent
        pool = ThreadPoolExecutor(min(len(asked), self.remote.concurrency), "remote")
        failures: list[Exception] = []

        def send(one: Asked) -> Kept:
            if failures:  # told by the thread that failed: it takes the next one at once
                raise CancelledError
            try:
                return exchange.send(one)
            except Exception as error:
                failures.append(error)
                raise

        futures = [pool.submit(_in_context(send), one) for one in asked]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            if failures:
                self._give_up(futures)
                wait(futures)  # those under way are paid for: let them end
                self._tell_kept(futures)
                raise failures[0]
            return {one.request: f.result() for one, f in zip(asked, futures, strict=True)}
        except KeyboardInterrupt:
            self._give_up(futures)
            exchange.close()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _tell_kept(self, futures: Sequence[Future[Kept]]) -> None:
        """Progress counts whole batches, so what came of a broken one is said."""
        kept = sum(not f.cancelled() and f.exception() is None for f in futures)
        if kept:
            say(
                f"remote model {self.card.name!r}: {kept} of these {len(futures)} requests were "
                "answered before that failed; the answers are kept, and not paid again"
            )

    def _give_up(self, futures: Sequence[Future[Kept]]) -> None:
        """Nothing more is sent, nor tried again."""
        for future in futures:
            future.cancel()
        self._exchange.stopped.set()
        self._exchange = self._new_exchange()


def _in_context(send: Callable[[Asked], Kept]) -> Callable[[Asked], Kept]:
    """So that what is said in another thread is shown as it is here."""
    context = contextvars.copy_context()
    return lambda asked: context.run(send, asked)


def _completion(kept: Kept) -> Completion:
    return Completion(
        text=kept.text,
        finish=kept.finish,
        prompt_tokens=kept.prompt_tokens,
        new_tokens=kept.new_tokens,
        seconds=kept.seconds,
    )


def _remote(card: ModelCard) -> Remote:
    if card.remote is None:
        raise ModelError(
            f"base {card.name!r} is no remote model: it has no table [remote.{card.name}]."
        )
    return card.remote
