"""What each scorer makes of an answer."""

from __future__ import annotations

import pytest

from sartor.data.records import Example, Message, Passage
from sartor.errors import SettingError
from sartor.evaluation.records import Prediction
from sartor.evaluation.scorers.refusal import ABSTENTION, is_abstention
from sartor.evaluation.scorers.registry import load_scorer
from sartor.models.language_model import Completion

PASSAGE = (
    "The Kestrel 300 tent weighs 2.4 kg and costs $1,299.50 since 3 May 2024. "
    "It was designed by Maria Ortiz in Lisbon."
)


def value(
    scorer: str,
    answer: str,
    *targets: str,
    answerable: bool = True,
    passages: tuple[str, ...] = (),
    question: str = "Tell me about the tent.",
) -> float | None:
    example = Example("e", (Message("user", question),), targets, answerable=answerable)
    given = tuple(Passage("d", 0, len(text), text) for text in passages)
    made = Prediction(example, Completion(answer, "stop", 1, 1, 0.1, given))
    scores = load_scorer(scorer).score([made])
    return scores[0].value if scores else None


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ("The Eiffel Tower.", "eiffel tower"),
        ("an apple", "Apple!"),
        ("$12.99", "12.99"),
        ("1,299", "1299"),
        ("A.", "a"),
        ("U.S.", "US"),
        ("10\u201312", "10-12"),
        ("\ufb01ne", "fine"),
        ("“yes”", "Yes"),
        ("Vitamin A", "vitamin A"),
    ],
)
def test_exact_match_forgives_case_articles_and_punctuation(answer: str, target: str) -> None:
    assert value("exact_match", answer, target) == 1


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ("$12.99", "1299"),
        ("$5", "€5"),
        ("5%", "$5"),
        ("-5", "5"),
        ("-$5", "$5"),
        (".5", "5"),
        ("3:30", "330"),
        ("1/2", "12"),
        ("10-12", "1012"),
        ("Vitamin A", "Vitamin"),
        ("A", "B"),
        ("", "yes"),
        ("?!", "!!"),
    ],
)
def test_exact_match_keeps_what_changes_the_meaning(answer: str, target: str) -> None:
    assert value("exact_match", answer, target) == 0


def test_any_target_counts_as_right() -> None:
    for scorer in ("exact_match", "token_f1", "rouge_l"):
        assert value(scorer, "four weeks", "28 days", "four weeks") == 1


def test_token_f1_is_the_overlap_of_words() -> None:
    assert value("token_f1", "four weeks notice", "four weeks") == pytest.approx(0.8)
    assert value("token_f1", "four four", "four") == pytest.approx(2 / 3)
    assert value("token_f1", "none", "four weeks") == 0


def test_scripts_without_spaces_are_compared_character_by_character() -> None:
    assert value("token_f1", "京都市", "京都") == pytest.approx(0.8)
    assert value("rouge_l", "żółty kot", "żółty pies") == pytest.approx(0.5)


def test_a_refusal_is_right_where_nothing_can_be_answered() -> None:
    for scorer in ("exact_match", "token_f1", "rouge_l"):
        assert value(scorer, "The passage does not say.", ABSTENTION, answerable=False) == 1
        assert value(scorer, "It does.", answerable=False) == 0
        assert value(scorer, "no target, so nobody knows") is None


@pytest.mark.parametrize(
    "text",
    [
        ABSTENTION,
        "I don\u2019t know",
        "I do not know the answer to that.",
        "I'm not sure.",
        "Sorry, I cannot answer that question.",
        "Cannot answer.",
        "The passage does not say.",
        "The context provided does not mention a price.",
        "The price is not stated in the document.",
        "Not mentioned in the provided context.",
        "This cannot be determined from the passage.",
        "The documents do not contain this. Please ask the shop.",
        "Unknown",
        "N/A",
        "Das weiß ich leider nicht.",
        "Das steht nicht in den Unterlagen.",
        "Das geht aus dem Text nicht hervor.",
        "Je ne sais pas.",
        "Le texte ne le précise pas.",
        "Le texte ne le pre\u0301cise pas.",
        "No lo sé.",
        "Los documentos no mencionan el precio.",
        "Il testo non lo dice.",
        "Não sei.",
        "Ik weet het niet.",
    ],
)
def test_these_are_abstentions(text: str) -> None:
    assert is_abstention(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Four weeks.",
        "I don't know the brand, but it costs $5.",
        "If you cannot find your receipt, write to us.",
        "The license does not include a patent grant.",
        "An unknown artist painted it.",
        "You may refuse to answer. I don't know who told you otherwise.",
        "No.",
        "Ich weiß nicht, welche Marke es ist, aber es kostet 5 Euro.",
        "Das Zelt steht nicht im Lager.",
        "Non, il n'est pas noir.",
    ],
)
def test_these_are_not_abstentions(text: str) -> None:
    assert not is_abstention(text)


def test_abstention_wants_answers_where_there_are_some_and_refusals_where_there_are_none() -> None:
    assert value("abstention", "Four weeks.", "28 days") == 1
    assert value("abstention", ABSTENTION, "28 days") == 0
    assert value("abstention", ABSTENTION, answerable=False) == 1
    assert value("abstention", "Four weeks.", answerable=False) == 0
    assert value("abstention", "", answerable=False) == 0
    assert value("abstention", "", "28 days") == 0


def test_the_words_that_an_unanswerable_example_asks_for_are_its_refusal() -> None:
    """In any language: nobody can list all."""
    target = "Ez nincs a dokumentumokban."
    assert value("abstention", "ez nincs a dokumentumokban", target, answerable=False) == 1
    assert value("answered", target, target, answerable=False) == 0
    assert value("abstention", "7 kg", target, answerable=False) == 0
    assert value("abstention", target, target) == 1  # of an answerable one they are the answer


def test_made_up_answers_are_scored_also_where_the_measure_does_not_fit_the_target() -> None:
    """Else only those who refuse would have a score there."""
    for scorer in ("numeric", "fields"):
        assert value(scorer, "7 kg", ABSTENTION, answerable=False) == 0
        assert value(scorer, "I don't know.", ABSTENTION, answerable=False) == 1
        assert value(scorer, "7 kg", "heavy") is None


def test_answered_says_whether_there_was_an_answer() -> None:
    assert value("answered", "Wrong.", "28 days") == 1
    assert value("answered", ABSTENTION, "28 days") == 0
    assert value("answered", "...", "28 days") == 0


def test_a_right_answer_is_an_answer_whatever_it_sounds_like() -> None:
    target = "The document does not say."
    assert value("answered", target, target) == 1
    assert value("abstention", target, target) == 1


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("The tent weighs 2.4 kg.", 1),
        ("It costs $1299.50 [1].", 1),
        ("It was designed by Maria Ortiz.", 1),
        ("1. It weighs 2.4 kg.\n2. It weighs 3.4 kg.", 0.5),
        ("It was designed by John Ortiz.", 0),
        ("It costs $1299.50 since 4 May 2024.", 0),
        ("Dogs bark loudly at night.", 0),
        ("The tent weighs 2.4 kg. It floats beautifully upon stormy oceans.", 0.5),
    ],
)
def test_groundedness_is_the_share_of_sentences_the_passages_support(
    answer: str, share: float
) -> None:
    assert value("groundedness", answer, "x", passages=(PASSAGE,)) == share


@pytest.mark.parametrize(
    "text",
    [
        "The U.S. Department (VA) uses GPL-2.0 and CC-BY-4.0 terms.",
        "Patients with MDS/MPD, N.Y. and the Cancer-Fund's list.",
        "- First: 12/05/2020\n- Then: 3:30 p.m., 1,299.50 or 10\u201312 %",
    ],
)
def test_what_is_copied_word_for_word_is_grounded(text: str) -> None:
    assert value("groundedness", text, "x", passages=(f"Before. {text} After.",)) == 1


def test_the_question_does_not_vouch_for_a_number_or_a_name() -> None:
    question = "Does the tent cost $20 in Oslo?"
    for answer in ("The tent costs $20.", "The tent costs that in Oslo."):
        assert value("groundedness", answer, passages=(PASSAGE,), question=question) == 0


def test_groundedness_applies_only_to_claims_made_with_passages() -> None:
    assert value("groundedness", "The tent weighs 2.4 kg.", "x") is None
    assert value("groundedness", ABSTENTION, "x", passages=(PASSAGE,)) is None
    assert value("groundedness", "", "x", passages=(PASSAGE,)) is None


def test_a_scorer_of_ones_own_is_named_by_its_path() -> None:
    path = "sartor.evaluation.scorers.exact_match:ExactMatch"
    assert load_scorer(path).name == "exact_match"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("exact_mach", "did you mean 'exact_match'"),
        ("zzz", "known: exact_match"),
        ("nowhere.at_all:Scorer", "cannot be imported"),
        ("sartor.errors:SartorError", "has no `name`"),
    ],
)
def test_an_unknown_scorer_is_refused_with_a_hint(name: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        load_scorer(name)
