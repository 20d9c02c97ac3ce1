"""Asking a language model to judge: what it is shown is quoted, and no question is put twice.

Answers and documents are data, and may try to speak to the judge. Each stands between markers that
hold a digest of it, so that nothing inside can end its own quotation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from sartor import progress
from sartor.data.files import digest
from sartor.data.records import Conversation
from sartor.errors import DataError, ModelError, PromptTooLongError, RefusedError
from sartor.evaluation.scorers.place import Place
from sartor.models.language_model import LanguageModel, Sampling

BATCH = 32
"""Questions put at once; what is answered is kept before the next are put."""


def quoted(what: str, text: str) -> str:
    """The text between markers that it cannot hold: they are made from its digest."""
    mark = f"{what} {digest(text)[:16]}"
    return f"<<<{mark}\n{text}\n{mark}>>>"


class Asking:
    """A language model by its name, and what it has answered; another model of that name (other
    weights, another `model` in its table) has answered nothing yet."""

    def __init__(
        self, place: Place, name: str, max_new_tokens: int = 64, temperature: float = 0.0
    ) -> None:
        self._place = place
        self._name = name
        self._max_new_tokens = max_new_tokens
        self._temperature = temperature
        self._known: dict[str, str] = {}

    def answers(self, conversations: Sequence[Conversation], seed: int = 0) -> list[str]:
        """One for each, in order; what was asked before is not asked again."""
        sampling = Sampling(self._temperature, self._max_new_tokens, seed)
        keys = [digest(self._revision, asked, sampling) for asked in conversations]
        self._recall()
        waiting = {
            key: asked
            for key, asked in zip(keys, conversations, strict=True)
            if key not in self._known
        }
        if waiting:
            self._ask(list(waiting.items()), sampling, of=len(set(keys)))
        return [self._known[key] for key in keys]

    @cached_property
    def _model(self) -> LanguageModel:
        return self._place.models(self._name)

    @cached_property
    def _revision(self) -> str:
        """Where nothing is kept, this very model answers all, and its name will do."""
        return self._place.revision(self._name) if self._place.kept else self._name

    @property
    def _file(self) -> Path | None:
        kept = self._place.kept
        return kept / f"{digest(self._revision)[:12]}.jsonl" if kept else None

    def _ask(
        self, waiting: Sequence[tuple[str, Conversation]], sampling: Sampling, of: int
    ) -> None:
        """Raises what the model raised where it takes none of the `of` questions."""
        without: list[tuple[str, ModelError]] = []
        with progress.task(f"{self._name}: judge", len(waiting), "answers") as task:
            for start in range(0, len(waiting), BATCH):
                batch = waiting[start : start + BATCH]
                told = self._told(batch, sampling, without)
                self._known |= told
                self._keep(told)
                task.advance(len(batch))
        if without:
            reason = without[0][1]
            if not self._known or len(without) == of > 1:  # that is no matter of the question
                raise reason
            progress.say(
                f"{self._name}: {len(without)} of {len(waiting)} questions have no answer, such as "
                f"one where {reason}"
            )
            self._known |= dict.fromkeys((key for key, _ in without), "")  # not kept: asked again

    def _told(
        self,
        batch: Sequence[tuple[str, Conversation]],
        sampling: Sampling,
        without: list[tuple[str, ModelError]],
    ) -> dict[str, str]:
        """Answers by key; questions that are too long, or that alone are refused, go to `without`:
        one answer that cannot be judged must not keep all others from it."""
        try:
            answers = self._model.generate([asked for _, asked in batch], sampling)
        except (PromptTooLongError, RefusedError) as error:
            if len(batch) == 1:
                without.append((batch[0][0], error))
                return {}
            half = len(batch) // 2
            first = self._told(batch[:half], sampling, without)
            return first | self._told(batch[half:], sampling, without)
        if len(answers) != len(batch):
            raise ModelError(
                f"{self._name} gave {len(answers)} answers to {len(batch)} requests; "
                "expected one for each. Mend its `generate`."
            )
        return {key: answer.text for (key, _), answer in zip(batch, answers, strict=True)}

    def _recall(self) -> None:
        if self._known or self._file is None or not self._file.is_file():
            return
        for line in self._file.read_bytes().split(b"\n")[:-1]:  # the last may be half a line
            try:
                row = json.loads(line)
                self._known[str(row["key"])] = str(row["text"])
            except (ValueError, KeyError, TypeError):
                continue  # torn by a crash: it is asked again

    def _keep(self, told: dict[str, str]) -> None:
        if self._file is None:
            return
        rows = [json.dumps({"key": k, "text": t}, ensure_ascii=False) for k, t in told.items()]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8", newline="\n") as file:
                file.write("".join(f"{row}\n" for row in rows))
        except OSError as error:
            raise DataError(
                f"cannot write {self._file}: {error.strerror}. Free some space or check the "
                "folder's rights."
            ) from error
