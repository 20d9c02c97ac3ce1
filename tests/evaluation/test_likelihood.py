"""How likely given texts are, and what rests on it: perplexity, multiple choice, forgetting."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from tests import tiny_models

from sartor.data.records import Example, Message
from sartor.errors import NoLikelihoodError, SettingError
from sartor.evaluation.criteria import fault
from sartor.evaluation.forgetting import Gate, by_likelihood, read_questions, told
from sartor.evaluation.records import Criteria, Forgotten, Prediction, Report
from sartor.evaluation.scorers.place import Place
from sartor.evaluation.scorers.registry import load_scorer
from sartor.models import chat, likelihood
from sartor.models.language_model import Completion
from sartor.models.likelihood import log_likelihoods
from sartor.models.local_model import LocalModel
from sartor.models.packed_forward import runs_rows
from sartor.models.prefix import of_tokens
from sartor.models.scripted import ScriptedModel

ASKED = (Message("user", "What color is the lamp?"),)
OPTIONS = ("green", "The notice period is four weeks.", "red")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel(tiny_models.save(tmp_path_factory.mktemp("tiny") / "llama"))


@pytest.mark.reference
def test_log_likelihoods_are_transformers_own_loss(model: LocalModel) -> None:
    [found] = log_likelihoods(model, [ASKED], [OPTIONS])
    prompt = chat.encode(model.tokenizer, ASKED)
    for option, mine in zip(OPTIONS, found, strict=True):
        answer = model.tokenizer(option, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt + answer])
        labels = torch.tensor([[-100] * len(prompt) + answer])
        with torch.no_grad():
            loss = float(model.network(input_ids=ids, labels=labels).loss)
        assert mine is not None
        assert mine.tokens == len(answer)
        assert mine.total == pytest.approx(-loss * len(answer), rel=1e-4)


def test_what_stands_before_the_prompt_counts(model: LocalModel) -> None:
    """A prefix made of tokens, and their embeddings, are as the tokens themselves."""
    first = [5, 9, 12]
    embedded = model.network.get_input_embeddings()(torch.tensor(first)).detach()
    for virtual in (embedded, of_tokens(model.network, first)):
        stacked = LocalModel(model.card, model.network, virtual)
        [[mine]] = log_likelihoods(stacked, [ASKED], [("green",)])
        prompt = chat.encode(model.tokenizer, ASKED)
        answer = model.tokenizer("green", add_special_tokens=False)["input_ids"]
        ids = torch.tensor([first + prompt + answer])
        with torch.no_grad():
            logits = model.network(input_ids=ids).logits[0, len(first + prompt) - 1 : -1]
        wanted = logits.log_softmax(-1)[torch.arange(len(answer)), torch.tensor(answer)].sum()
        assert mine is not None
        assert mine.total == pytest.approx(float(wanted), rel=1e-3)


def test_a_wide_vocabulary_is_asked_of_the_answer_and_not_of_the_prompt(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits of a batch of whole prompts take gigabytes where a vocabulary has 150,000 tokens."""
    monkeypatch.setattr(likelihood, "must_go_alone", lambda *_: True)
    read: list[int] = []
    head = model.network.get_output_embeddings()
    watch = head.register_forward_pre_hook(lambda _, given: read.append(given[0].shape[1]))
    log_likelihoods(model, [ASKED], [OPTIONS])
    watch.remove()
    answers = [len(model.tokenizer(o, add_special_tokens=False)["input_ids"]) for o in OPTIONS]
    assert max(read) == max(answers) + 1 < len(chat.encode(model.tokenizer, ASKED))


SHOWN = tuple(
    (Message("user", f"The lamp {i % 3} is green. What color is the lamp? " * 4), ASKED[0])
    for i in range(6)
)


@pytest.mark.reference
@pytest.mark.parametrize(
    "architecture", ["llama", "qwen3", "gemma2", "gpt_oss", "mixtral", "olmo_clipped"]
)
def test_in_rows_they_are_what_they_are_in_batches(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = LocalModel(tiny_models.save(tmp_path / "base", architecture))
    first = [5, 9, 12]
    embedded = plain.network.get_input_embeddings()(torch.tensor(first)).detach()
    for virtual in (None, embedded, of_tokens(plain.network, first)):
        model = LocalModel(plain.card, plain.network, virtual)
        assert runs_rows(model.network, virtual)
        options = [OPTIONS, OPTIONS[:1], OPTIONS[1:]] * 2
        rows = log_likelihoods(model, SHOWN, options)
        with monkeypatch.context() as patched:
            patched.setattr(likelihood, "must_go_alone", lambda *_: True)
            batches = log_likelihoods(model, SHOWN, options)
        for mine, theirs in zip(chain(*rows), chain(*batches), strict=True):
            assert mine is not None
            assert theirs is not None
            assert mine.total == pytest.approx(theirs.total, rel=1e-4)
            assert (mine.tokens, mine.greedy) == (theirs.tokens, theirs.greedy)


def test_what_prompts_begin_with_is_read_once(model: LocalModel) -> None:
    assert runs_rows(model.network)  # tried before it is counted
    read: list[int] = []
    embed = model.network.get_input_embeddings()
    hook = embed.register_forward_hook(lambda _, given, __: read.append(given[0].numel()))
    try:
        log_likelihoods(model, SHOWN, [OPTIONS] * len(SHOWN))
    finally:
        hook.remove()
    tokens = [len(chat.encode(model.tokenizer, one)) for one in SHOWN]
    answers = [len(chat.encode_answer(model.tokenizer, one)) for one in OPTIONS]
    assert 0 < sum(read) < sum(tokens) / 2 + len(SHOWN) * sum(answers)
    assert sum(read) < len(OPTIONS) * sum(tokens) / 4


def test_what_has_no_room_has_no_likelihood(model: LocalModel) -> None:
    [[short, long]] = log_likelihoods(model, [ASKED], [("green", "lamp " * 999)])
    assert short is not None
    assert long is None


def test_a_model_that_cannot_score_texts_says_so() -> None:
    with pytest.raises(NoLikelihoodError, match="does not score given texts"):
        log_likelihoods(ScriptedModel(lambda _: "x"), [ASKED], [("a",)])


def test_perplexity_is_of_the_answers_tokens(model: LocalModel) -> None:
    scorer = load_scorer("perplexity", {"model": "m"}, Place(models=lambda _: model))
    made = Prediction(Example("e", ASKED, ("x",)), Completion("green", "stop", 1, 1, 0.1))
    [score] = scorer.score([made])
    [[mine]] = log_likelihoods(model, [ASKED], [("green",)])
    assert mine is not None
    assert score.value == pytest.approx(math.exp(mine.total / mine.tokens), abs=1e-5)
    assert score.explanation == f"perplexity {math.exp(-mine.total / mine.tokens):.1f}"
    with pytest.raises(SettingError, match="needs a reference model"):
        load_scorer("perplexity")


def questions(folder: Path, answers: list[int]) -> Path:
    path = folder / "general.jsonl"
    rows = [
        {"question": f"What is {i}?", "choices": ["green", "four weeks", "lamp"], "answer": a}
        for i, a in enumerate(answers)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_likeliest_option_is_chosen(model: LocalModel, tmp_path: Path) -> None:
    read = read_questions(questions(tmp_path, [0, 1, 2] * 4))
    likeliest = []
    for question in read:
        [options] = log_likelihoods(model, [(Message("user", question.text),)], [question.choices])
        means = [option.total / option.tokens for option in options if option]
        likeliest.append(means.index(max(means)))
    expected = [float(best == q.answer) for best, q in zip(likeliest, read, strict=True)]
    assert list(by_likelihood(model, read).values()) == expected


def test_what_was_forgotten_is_a_paired_difference_with_a_limit(tmp_path: Path) -> None:
    gate = Gate(tmp_path, ("general.jsonl",), "", None, 0.02)
    before = {f"q{i}": 1.0 for i in range(100)}
    after = {f"q{i}": float(i >= 10) for i in range(100)}
    found = gate.forgotten(before, after)
    assert (found.before, found.after, found.n) == (1.0, 0.9, 100)
    assert found.loss == pytest.approx(0.1)
    assert 0 < found.low < 0.1 < found.high
    assert "more than the limit of 0.02" in told(found)
    same = gate.forgotten(before, before)
    assert same.loss == 0
    assert "within the limit of 0.02; the interval does not rule out more" in told(same)


def test_a_candidate_that_forgot_too_much_is_refused(planted: object) -> None:
    report: Report = planted("lora", [1.0] * 30)  # type: ignore[operator]
    criteria = Criteria("planted", 0.03)
    assert fault(report, criteria) == ""
    lost = Forgotten(0.8, 0.7, 0.1, 0.04, 0.16, 100, 0.02)
    said = fault(replace(report, forgotten=lost), criteria)
    assert "general ability fell by 0.100 (0.040 to 0.160), above the limit of 0.02" in said
    assert fault(replace(report, forgotten=replace(lost, limit=0.2)), criteria) == ""


@pytest.mark.parametrize(
    "row",
    ['{"question": "x", "choices": ["a"], "answer": 0}', "x", '{"question": "x"}',
     '{"question": "x", "choices": ["a", "b"], "answer": 2}'],
)  # fmt: skip
def test_a_line_that_is_no_question_is_named(tmp_path: Path, row: str) -> None:
    (tmp_path / "general.jsonl").write_text(row + "\n")
    with pytest.raises(SettingError, match=r"general.jsonl:1 is no question"):
        Gate(tmp_path, ("general.jsonl",), "", None, 0.02).check()


YAML = """
task: lamps
dataset_path: json
dataset_kwargs:
  data_files: {test: "%s"}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
target_delimiter: ""
metric_list: [{metric: acc}]
"""


def test_a_task_of_the_harness_runs_over_a_model_of_ours(
    model: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval", reason="needs sartor[harness]")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    path = questions(tmp_path, [0, 1, 2, 0])
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "lamps.yaml").write_text(YAML % path)
    gate = Gate(tmp_path, ("lamps",), "tasks", None, 0.02)
    found = gate.results(model, tmp_path / "kept.json")
    assert sorted(found) == [f"lamps/{i}" for i in range(4)]
    sums = []  # the harness compares whole log probabilities
    for question in read_questions(path):
        [options] = log_likelihoods(model, [(Message("user", question.text),)], [question.choices])
        totals = [option.total for option in options if option]
        sums.append(float(totals.index(max(totals)) == question.answer))
    assert [found[f"lamps/{i}"] for i in range(4)] == sums
    assert gate.results(None, tmp_path / "kept.json") == found
