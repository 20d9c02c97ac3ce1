"""What is read before answering: cited, made to fit, and trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from tests import tiny_models
from tests.techniques.recorder import Recorder, recorded

from sartor.data.records import Conversation, Document, Example, Message, Passage, TrainingData
from sartor.errors import DataError, PromptTooLongError
from sartor.models.language_model import Completion, ModelCard, Sampling, StreamingLanguageModel
from sartor.techniques.few_shot import FewShot
from sartor.techniques.rag import INSTRUCTION, Rag, Retrieving
from sartor.techniques.wrapping import asked, with_passages

TEXTS = {
    "leave.md": "Parental leave lasts twelve weeks and is paid in full.",
    "notice.md": "The notice period is four weeks.",
    "yard.md": "Bicycles may be parked in the yard, never in the hall.",
    "lamp.md": "The desk lamp has a green shade and a brass foot.",
}
DOCUMENTS = tuple(Document(name, text, name) for name, text in TEXTS.items())


def ask(request: str) -> Conversation:
    return (Message("user", request),)


TRAIN = (
    Example("a", ask("How long is parental leave?"), ("twelve weeks",)),
    Example("b", ask("How long is the notice period?"), ("four weeks",)),
    Example("c", ask("Where may I park my bicycle?"), ("in the yard",)),
)
DATA = TrainingData(DOCUMENTS, TRAIN, (Example("d", ask("What is green?"), ("the lamp",)),))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


def answer(rag: Rag, request: Conversation, base: ModelCard, folder: Path) -> Completion:
    model = rag.load(rag.fit(base, DATA, folder))
    [completion] = model.generate([request], Sampling())
    return completion


def test_the_passages_cited_are_those_before_the_model(base: ModelCard, tmp_path: Path) -> None:
    rag = Rag(inner=Recorder(), top_k=2)
    completion = answer(rag, ask("How long is the notice period?"), base, tmp_path)
    assert completion.passages[0].document_id == "notice.md"
    assert len(completion.passages) == 2
    for number, passage in enumerate(completion.passages, 1):
        assert f"[{number}] {passage.text}" in completion.text
    cited = {passage.text for passage in completion.passages}
    assert [text for text in TEXTS.values() if text in completion.text and text not in cited] == []
    assert completion.text.startswith(f"system: {INSTRUCTION}\nuser: [1] ")
    assert completion.text.endswith("\n\nQuestion: How long is the notice period?")


def test_a_stream_cites_what_an_answer_cites(base: ModelCard, tmp_path: Path) -> None:
    rag = Rag(inner=Recorder(), top_k=2)
    model = rag.load(rag.fit(base, DATA, tmp_path))
    assert isinstance(model, StreamingLanguageModel)
    [whole] = model.generate([ask("Where do bicycles go?")], Sampling())
    *_, last = model.stream(ask("Where do bicycles go?"), Sampling())
    assert isinstance(last, Completion)
    assert last.passages == whole.passages


def test_passages_go_before_the_last_request_of_a_conversation(
    base: ModelCard, tmp_path: Path
) -> None:
    said = (*ask("How long is parental leave?"), Message("assistant", "Twelve weeks."))
    completion = answer(
        Rag(inner=Recorder(), top_k=1), (*said, *ask("And notice?")), base, tmp_path
    )
    assert completion.passages[0].document_id == "notice.md"
    assert (
        "user: How long is parental leave?\nassistant: Twelve weeks.\nuser: [1]" in completion.text
    )


@pytest.mark.parametrize("request_", [ask(""), ask("?!"), (Message("system", "Say something."),)])
def test_a_request_without_words_reads_nothing_and_is_answered(
    request_: Conversation, base: ModelCard, tmp_path: Path
) -> None:
    completion = answer(Rag(inner=Recorder()), request_, base, tmp_path)
    assert completion.passages == ()
    assert completion.text


@pytest.mark.parametrize(("words", "read"), [(5, 3), (150, 2), (180, 1), (228, 0)])
def test_passages_that_do_not_fit_are_left_out_the_last_first(
    words: int, read: int, base: ModelCard, tmp_path: Path
) -> None:
    rag = Rag(top_k=3, system="")
    model = rag.load(rag.fit(base, DATA, tmp_path))
    request = ask("notice " * words)
    [completion] = model.generate([request], Sampling(max_new_tokens=8))
    assert len(completion.passages) == read
    assert completion.prompt_tokens + 8 <= tiny_models.CONTEXT


@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_too_long_by_itself_is_not_searched_with(
    streamed: bool, base: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have a megabyte, and is not tried with fewer and fewer passages either."""
    rag = Rag(top_k=3)
    model = rag.load(rag.fit(base, DATA, tmp_path))
    assert isinstance(model, Retrieving)
    read = Mock(wraps=model.inner.prompt_tokens)
    monkeypatch.setattr(model.inner, "prompt_tokens", read)
    monkeypatch.setattr(model.retriever, "search", None)
    request = ask("notice " * 300)
    with pytest.raises(PromptTooLongError, match="Shorten the request, use fewer passages"):
        list(
            model.stream(request, Sampling()) if streamed else model.generate([request], Sampling())
        )
    assert read.call_count == 1
    with pytest.raises(PromptTooLongError, match="one of 2 requests leaves no room"):
        model.generate([ask("When?"), request], Sampling())


def test_room_for_a_long_answer_costs_no_passages(base: ModelCard, tmp_path: Path) -> None:
    rag = Rag(top_k=1, system="")
    model = rag.load(rag.fit(base, DATA, tmp_path))
    [completion] = model.generate([ask("notice?")], Sampling(max_new_tokens=4096, stop=("e",)))
    assert len(completion.passages) == 1


def test_what_is_inside_is_trained_on_prompts_with_passages(
    base: ModelCard, tmp_path: Path
) -> None:
    Rag(inner=Recorder(), top_k=2).fit(base, DATA, tmp_path)
    examples = {e.id: e for part in ("train", "validation") for e in recorded(tmp_path, part)}
    assert set(examples) == {"a", "b", "c", "d"}
    system, request = examples["b"].input
    assert system.content == INSTRUCTION
    assert TEXTS["notice.md"] in request.content
    assert "[2] " in request.content, "wrong passages are to be seen too"
    assert examples["b"].targets == ("four weeks",)


def test_training_prompts_leave_room_for_the_answer(base: ModelCard, tmp_path: Path) -> None:
    rag = Rag(inner=Recorder(), top_k=4)
    rag.fit(base, DATA, tmp_path)
    counts = [e.input[-1].content.count("] ") for e in recorded(tmp_path, "train")]
    assert max(counts) < 4, "the base reads 256 tokens; half are left for the answer"


def test_examples_shown_under_rag_are_bare_and_chosen_by_the_question(
    base: ModelCard, tmp_path: Path
) -> None:
    rag = Rag(inner=FewShot(inner=Recorder(), examples=1), top_k=1)
    completion = answer(rag, ask("Where may bicycles be parked?"), base, tmp_path)
    _, _, rest = completion.text.partition("\n")
    shown, said, request = rest.split("\n", 2)
    assert (shown, said) == ("user: Where may I park my bicycle?", "assistant: in the yard")
    assert request.startswith(f"user: [1] {TEXTS['yard.md']}")


def test_under_rag_with_training_inside_the_trained_request_keeps_its_passages(
    base: ModelCard, tmp_path: Path
) -> None:
    roomy = replace(base, context=1024)
    Rag(inner=FewShot(inner=Recorder(), examples=1), top_k=1).fit(roomy, DATA, tmp_path)
    for example in recorded(tmp_path / "inner", "train"):
        *_, shown, _, request = example.input
        assert request.content.startswith("[1] ")
        assert not shown.content.startswith("[1] ")


def test_passages_come_before_examples_where_not_both_fit(base: ModelCard, tmp_path: Path) -> None:
    long = tuple(replace(e, input=ask(e.input[0].content * 4)) for e in TRAIN)
    data = replace(DATA, train=long)
    rag = Rag(inner=FewShot(examples=3), top_k=2, system="")
    model = rag.load(rag.fit(base, data, tmp_path))
    [completion] = model.generate([ask("How long is notice?")], Sampling(max_new_tokens=16))
    assert len(completion.passages) == 2
    assert completion.prompt_tokens + 16 <= tiny_models.CONTEXT


def test_no_documents_is_an_error_that_says_what_to_do(base: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leave rag out"):
        Rag().fit(base, TrainingData((), TRAIN, ()), tmp_path)


def test_the_digest_follows_what_the_documents_say(base: ModelCard, tmp_path: Path) -> None:
    changed = replace(DATA, documents=(*DOCUMENTS[1:], replace(DOCUMENTS[0], text="No leave.")))
    first = Rag().fit(base, DATA, tmp_path / "first")
    assert Rag().fit(base, changed, tmp_path / "changed").digest != first.digest


def test_the_request_is_found_again_behind_its_passages() -> None:
    request = ask("Which?\n\nQuestion: really?")
    assert asked(request) == "Which?\n\nQuestion: really?"
    passage = Passage("d", 0, 9, "Text.\n\nQuestion: none")
    assert asked(with_passages(ask("Which?"), [passage])) == "Which?"
    assert asked(()) == ""
