"""What each of the later scorers makes of an answer, checked against what is not ours."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from sartor.data.records import Example, Message, Passage
from sartor.errors import SettingError
from sartor.evaluation.corpus import corpus_estimate
from sartor.evaluation.given import Given
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.bleu import Bleu
from sartor.evaluation.scorers.by_id import read_by_id
from sartor.evaluation.scorers.fenced import fenced
from sartor.evaluation.scorers.label import Label
from sartor.evaluation.scorers.place import Place
from sartor.evaluation.scorers.registry import load_scorer, load_scorers
from sartor.models.language_model import Completion, Finish


def prediction(
    answer: str,
    *targets: str,
    id: str = "e",
    question: str = "What?",
    answerable: bool = True,
    finish: Finish = "stop",
    passages: Sequence[str] = (),
    evidence: tuple[str, ...] = (),
) -> Prediction:
    example = Example(
        id, (Message("user", question),), targets, answerable=answerable, evidence=evidence
    )
    given = tuple(Passage(f"d{i}", 0, len(text), text) for i, text in enumerate(passages))
    return Prediction(example, Completion(answer, finish, 1, 1, 0.1, given))


def score(
    scorer: str, made: Prediction, place: Place | None = None, **settings: Any
) -> Score | None:
    found = load_scorer(scorer, settings, place).score([made])
    return found[0] if found else None


def value(
    scorer: str, made: Prediction, place: Place | None = None, **settings: Any
) -> float | None:
    found = score(scorer, made, place, **settings)
    return found.value if found else None


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [
        ("The fee is four weeks of pay.", "four weeks", 1),
        ("fourteen weeks", "four weeks", 0),
        ("weeks four", "four weeks", 0),
        ("It is in Paris, France.", "paris", 1),
        ("答えは京都です", "京都", 1),
        ("", "Paris", 0),
    ],
)
def test_contains_asks_for_whole_words_in_order(answer: str, target: str, right: float) -> None:
    assert value("contains", prediction(answer, target)) == right


@pytest.mark.parametrize(
    ("answer", "target", "settings", "right"),
    [
        ("It is $1,496.5 million.", "1.4965 billion", {}, 1),
        ("1496500000", "$1,496.5 million", {}, 1),
        ("First 3, then 7", "7", {}, 1),
        ("First 3, then 7", "3", {"take": "first"}, 1),
        ("3 or 7", "7", {"take": "only"}, 0),
        ("3 or 7", "3", {"take": "any"}, 1),
        ("10.4", "10", {}, 0),
        ("10.4", "10", {"tolerance": 0.5}, 1),
        ("10.6", "10", {"tolerance": 0.5}, 0),
        ("101", "100", {"relative": 0.01}, 1),
        ("102", "100", {"relative": 0.01}, 0),
        ("-5", "5", {}, 0),
        ("1.299,50 €", "1.299,5", {"decimal": ","}, 1),
        ("I don't know.", "5", {}, 0),
        ("1e3", "1000", {}, 1),
        ("$2.5 Billion", "2.5 billion", {}, 1),
        ("1.2 MILLION", "1200000", {}, 1),
        ("$1.5MM", "1.5 million", {}, 1),
        ("1.5 mm", "1500000", {}, 0),
        ("(4,931)", "4931", {}, 1),
        ("(4,931)", "-4931", {}, 0),
        ("(4,931)", "-4931", {"accounting": True}, 1),
        ("A loss of $(4.9) million.", "-4900000", {"accounting": True}, 1),
        ("-4.9 million", "($4.9 million)", {"accounting": True}, 1),
        ("A loss of EUR(4.9) million.", "-4900000", {"accounting": True}, 1),
        ("Down ( 3.2 % ).", "-3.2", {"accounting": True}, 1),
        ("(1.299,50)", "-1299,5", {"accounting": True, "decimal": ","}, 1),
        ("(about 10 of them)", "10", {"accounting": True}, 1),
        ("(-5)", "-5", {"accounting": True}, 1),
    ],
)
def test_numeric_compares_values(
    answer: str, target: str, settings: dict[str, Any], right: float
) -> None:
    assert value("numeric", prediction(answer, target), **settings) == right


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ("1,5 Mio. €", "1.500.000"),
        ("2 Milliarden Euro", "2 Mrd."),
        ("1\u202f234,5", "1234,5"),
        ("12\u2019345 Franken", "12345"),
        ("3 millions d'euros", "3000000"),
        ("5 Tsd. Stück", "5000"),
    ],
)
def test_numeric_reads_numbers_as_they_are_written_on_the_continent(
    answer: str, target: str
) -> None:
    assert value("numeric", prediction(answer, target), decimal=",") == 1
    assert value("numeric", prediction(f"9{answer}", target), decimal=",") == 0


@pytest.mark.parametrize("said", ["Die Antwort ist B.", "Antwort: B", "La réponse est B"])
def test_a_choice_is_read_in_other_languages(said: str) -> None:
    asked = "Welche?\nA. Rot\nB. Blau"
    assert value("choice", prediction(said, "B", question=asked)) == 1
    assert value("choice", prediction(said, "A", question=asked)) == 0


def test_numeric_says_nothing_where_no_target_is_a_number() -> None:
    assert value("numeric", prediction("5", "five apples")) is None


ANSWERS = ["the cat sat on the mat", "a dog", "there is no one here today", "rain falls"]
REFERENCES = [
    ("the cat is on the mat", "a cat sat on the mat"),
    ("a dog barks loudly", "the dog"),
    ("nobody is here today", "there is nobody here"),
    ("it snows", "snow falls"),
]


@pytest.mark.reference
def test_bleu_and_chrf_are_sacrebleus() -> None:
    import sacrebleu

    for answer, targets in zip(ANSWERS, REFERENCES, strict=True):
        made = prediction(answer, *targets)
        assert value("bleu", made) == pytest.approx(
            sacrebleu.sentence_bleu(answer, list(targets)).score / 100
        )
        assert value("chrf", made) == pytest.approx(
            sacrebleu.sentence_chrf(answer, list(targets)).score / 100
        )


@pytest.mark.reference
@pytest.mark.parametrize("n", [1, 2, 4])
def test_corpus_bleu_is_sacrebleus_and_not_the_mean_of_sentences(n: int) -> None:
    import sacrebleu

    made = [
        prediction(a, *t, id=str(i))
        for i, (a, t) in enumerate(zip(ANSWERS[:n], REFERENCES[:n], strict=True))
    ]
    [figure] = Bleu().corpus(made)
    columns = [list(column) for column in zip(*REFERENCES[:n], strict=True)]
    expected = sacrebleu.corpus_bleu(ANSWERS[:n], columns).score / 100
    assert figure.value(np.ones(n)) == pytest.approx(expected)
    found = corpus_estimate(figure)
    assert found.mean == pytest.approx(expected)
    assert found.low <= found.mean <= found.high


@pytest.mark.reference
@pytest.mark.parametrize("word_order", [0, 2])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_corpus_chrf_is_sacrebleus_however_often_each_counts(n: int, word_order: int) -> None:
    import sacrebleu

    made = [
        prediction(a, *t, id=str(i))
        for i, (a, t) in enumerate(zip(ANSWERS[:n], REFERENCES[:n], strict=True))
    ]
    [figure] = load_scorer("chrf", {"word_order": word_order}).corpus(made)  # type: ignore[attr-defined]
    for times in (np.ones(n), np.arange(1.0, n + 1)):
        rows = [i for i in range(n) for _ in range(int(times[i]))]
        columns = [[REFERENCES[i][c] for i in rows] for c in range(2)]
        said = [ANSWERS[i] for i in rows]
        expected = sacrebleu.corpus_chrf(said, columns, word_order=word_order).score / 100
        assert figure.value(times) == pytest.approx(expected)
    found = corpus_estimate(figure)
    assert found.low <= found.mean <= found.high
    assert figure.name == "chrf (corpus)"


def test_macro_f1_counts_a_rare_class_as_much_as_a_common_one() -> None:
    """By hand: spam 2pr/(p+r) = 2 * 8 / (8 + 10) = 0.889, ham 0 of 2."""
    made = [prediction("spam", "spam", id=f"s{i}") for i in range(8)]
    made += [prediction("spam", "ham", id=f"h{i}") for i in range(2)]
    [figure] = Label().corpus(made)
    assert figure.value(np.ones(10)) == pytest.approx((2 * 8 / (8 + 10) + 0) / 2)
    assert sum(s.value for s in Label().score(made)) == 8


def test_a_label_is_found_within_a_sentence_but_not_within_another_label() -> None:
    labels = ("card lost", "card", "top-up")
    scorer = load_scorer("label", {"labels": labels})
    for answer, right in (
        ("The class is: card lost.", 1),
        ("card", 0),
        ("card lost or top-up", 0),
        ("nothing", 0),
    ):
        [found] = scorer.score([prediction(answer, "card lost")])
        assert found.value == right, answer


@pytest.mark.parametrize("right", ["A", "B"])
@pytest.mark.parametrize(
    "said", ["{}", "{}.", "{}: the clause is void", "{} because of it", "{} is right", "Class {}"]
)
def test_the_label_a_is_read_as_any_other(said: str, right: str) -> None:
    """ "A" is an article, too, and those are left out where words are compared."""
    scorer = load_scorer("label", {"labels": ("A", "B", "C")})
    other = "B" if right == "A" else "A"
    assert scorer.score([prediction(said.format(right), right)])[0].value == 1
    assert scorer.score([prediction(said.format(right), other)])[0].value == 0
    assert scorer.score([prediction("A or B", right)])[0].value == 0
    assert value("contains", prediction(said.format(right), right)) == 1
    assert value("contains", prediction("This is a dog", right)) == 0


def test_right_answers_that_are_none_of_the_labels_are_told_of() -> None:
    scorer = Label(labels=("Yes", "Nein"))
    made = [prediction("No", "No", id="a"), prediction("Yes", "Yes", id="b")]
    assert "1 of 2 examples, such as 'No', is none of its labels" in scorer.note(made, [])
    assert scorer.note(made[1:], []) == ""
    assert Label().note(made, []) == ""


OPTIONS = "Which?\nA. monogamy\nB. polygyny\nC. polyandry"


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("C", 1), ("C.", 1), ("(C) polyandry", 1), ("C. polyandry", 1), ("polyandry", 1),
        ("The answer is C", 1), ("Answer: C", 1), ("B", 0), ("A tent is not C", 0),
        ("The answer is B. The answer is C.", 0), ("", 0), ("Certainly", 0), ("**C**", 1),
        ("c", 1), ("c) polyandry", 1), ("The answer is c.", 1), ("b)", 0), ("a tent", 0),
        ("The answer is a tent", 0), ("c'est la vie", 0),
    ],
)  # fmt: skip
def test_a_choice_is_read_strictly(answer: str, right: float) -> None:
    assert value("choice", prediction(answer, "C. polyandry", question=OPTIONS)) == right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("b", 1), ("b) Kocher", 1), ("B", 1), ("Kocher", 1), ("Antwort: b", 1),
        ("Die richtige Antwort ist b.", 1), ("a", 0), ("a) Zelt", 0), ("a oder b", 0),
    ],
)  # fmt: skip
def test_options_may_be_listed_by_small_letters(answer: str, right: float) -> None:
    asked = "Wohin gehört die Flamme?\na) Zelt\nb) Kocher"
    for target in ("b", "B", "b) Kocher", "Kocher"):
        assert value("choice", prediction(answer, target, question=asked)) == right
    only_a = "Welche?\na) Zelt"
    assert value("choice", prediction("Zelt", "Zelt", question=only_a)) is None


def test_a_refusal_of_what_can_be_answered_is_told_apart_from_a_wrong_answer() -> None:
    refused = score("token_f1", prediction("I don't know.", "28 days"))
    wrong = score("token_f1", prediction("a week", "28 days"))
    assert refused is not None
    assert wrong is not None
    assert (refused.value, refused.explanation) == (0, "refused")
    assert (wrong.value, wrong.explanation) == (0, "")


def test_abstention_says_which_of_the_four_it_is() -> None:
    said = [
        score("abstention", prediction(answer, "x", answerable=able)).explanation  # type: ignore[union-attr]
        for answer in ("28 days", "I don't know.")
        for able in (True, False)
    ]
    assert said == ["right to answer", "made up", "wrongly refused", "right to refuse"]


SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ('{"age": 5}', 1),
        ('```json\n{"age": 5}\n```', 1),
        ('{"age": ' + "9" * 5_000 + "}", 0),
        ('{"age": "5"}', 0),
        ("{}", 0),
        ('{"age": NaN}', 0),
        ("Here you go: {}", 0),
    ],
)
def test_json_schema(tmp_path: Path, answer: str, valid: float) -> None:
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    assert value("json_schema", prediction(answer), Place(tmp_path), schema="s.json") == valid


def test_a_schema_that_is_none_is_refused_before_a_run(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": 5}')
    with pytest.raises(SettingError, match="is no JSON schema"):
        load_scorer("json_schema", {"schema": "s.json"}, Place(tmp_path))
    with pytest.raises(SettingError, match="there is no such file"):
        load_scorer("json_schema", {"schema": "none.json"}, Place(tmp_path))


TARGET = '{"name": "Ada", "tags": ["a", "b"], "at": {"city": "Lisbon"}}'


@pytest.mark.parametrize(
    ("answer", "settings", "share"),
    [
        (TARGET, {}, 1),
        ('{"name": "ada.", "tags": ["b", "a"], "at": {"city": "Lisbon"}}', {}, 1),
        ('{"name": "ada", "tags": ["b", "a"], "at": {"city": "Lisbon"}}', {"exact": True}, 3 / 5),
        ('{"name": "Ada"}', {}, 1 / 4),
        ('{"name": "Ada", "made": "up"}', {}, 1 / 5),
        ('{"name": "Ada", "made": "up"}', {"extra": "ignore"}, 1 / 4),
        ("Ada", {}, 0),
    ],
)
def test_field_accuracy(answer: str, settings: dict[str, Any], share: float) -> None:
    assert value("fields", prediction(answer, TARGET), **settings) == pytest.approx(share)


@pytest.fixture
def shop(tmp_path: Path) -> Place:
    database = sqlite3.connect(tmp_path / "shop.db")
    database.execute("CREATE TABLE item (name TEXT, price REAL)")
    database.executemany("INSERT INTO item VALUES (?, ?)", [("tent", 99.5), ("mat", 20.0)])
    database.commit()
    database.close()
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [
        ("select name from item", "SELECT name FROM item ORDER BY name DESC", 1),
        ("select name from item order by name", "SELECT name FROM item ORDER BY name DESC", 0),
        ("```sql\nselect name from item order by 1\n```", "SELECT name FROM item", 1),
        ("select name from nothing", "SELECT name FROM item", 0),
        ("delete from item", "SELECT name FROM item", 0),
        ("attach 'x.db' as x", "SELECT name FROM item", 0),
        ("pragma writable_schema = 1", "SELECT name FROM item", 0),
        ("select load_extension('x')", "SELECT name FROM item", 0),
        ("select name from item; drop table item", "SELECT name FROM item", 0),
        ("with recursive n(i) as (select 1 union all select i+1 from n) select sum(i) from n",
         "SELECT name FROM item", 0),
        ("select name from item where 0", "SELECT name FROM item WHERE price > 1000", 1),
        ("", "SELECT name FROM item WHERE price > 1000", 0),
        ("-- no such item", "SELECT name FROM item WHERE price > 1000", 0),
    ],
)  # fmt: skip
def test_sql_gives_the_same_rows_and_can_do_nothing_but_read(
    shop: Place, answer: str, target: str, right: float
) -> None:
    settings = {"database": "shop.db", "allow_execution": True, "max_seconds": 0.3}
    assert value("sql", prediction(answer, target), shop, **settings) == right
    assert [path.name for path in shop.folder.iterdir()] == ["shop.db"]


def test_nothing_is_run_unless_it_is_allowed(shop: Place) -> None:
    (shop.folder / "t.jsonl").write_text('{"id": "e", "test": "assert 1"}\n')
    for scorer, settings in (("sql", {"database": "shop.db"}), ("code", {"tests": "t.jsonl"})):
        with pytest.raises(SettingError, match="allow_execution = true"):
            load_scorer(scorer, settings, shop)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("def f(x):\n    return x * 2", 1),
        ("```python\ndef f(x):\n    return x + x\n```", 1),
        ("def f(x):\n    return x", 0),
        ("import os\nos._exit(0)", 0),
        ("raise SystemExit(0)", 0),
        ("while True: pass", 0),
        ("f = lambda x: len(bytearray(4 * 2**30))", 0),
        ("def f(x):\n    return x * 2\nprint('done', end='')", 1),
        (
            "import os\nprint(os.path.basename(os.getcwd()), flush=True)\nos._exit(0)",
            0,
        ),
        (
            "import os\nfor n in range(3, 32):\n    try:\n        os.write(n, b'x' * 32)\n"
            "    except OSError:\n        pass\nos._exit(0)",
            0,
        ),
    ],
)
def test_code_must_pass_its_tests_within_limits(tmp_path: Path, answer: str, right: float) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": "e", "test": "assert f(2) == 4"}\n')
    settings = {"tests": "t.jsonl", "allow_execution": True, "max_seconds": 2}
    assert value("code", prediction(answer), Place(tmp_path), **settings) == right


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('{"id": "e", "test": null}', "1: test is null, which is no text"),
        ('{"id": "d", "test": "1"}\r\n\r\n{"id": "e"}', "3: test is null"),
        ('{"id": "e", "test": "1"}\n{"id": "e", "test": "2"}', "2: the id 'e' stands in a line"),
        ("[1]", "1: no object"),
        ('{"id": null, "test": "1"}', "1: id is null"),
        ("{", "1: Expecting"),
    ],
)
def test_a_file_by_id_that_cannot_be_read_is_refused_by_its_line(
    tmp_path: Path, rows: str, said: str
) -> None:
    (tmp_path / "t.jsonl").write_bytes(rows.encode())
    with pytest.raises(SettingError, match=rf"t\.jsonl:{said}"):
        load_scorer("code", {"tests": "t.jsonl", "allow_execution": True}, Place(tmp_path))


def test_blank_lines_in_a_file_by_id_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"id": 7, "test": "x"}\r\n\r\n')
    assert read_by_id(tmp_path / "t.jsonl", "code", "test") == {"7": "x"}


def test_a_query_that_gives_too_much_is_wrong_before_it_fills_the_memory(shop: Place) -> None:
    query = (
        "with recursive n(i) as (select 1 union all select i + 1 from n limit 99999) "
        "select zeroblob(1000000) from n"
    )
    settings = {"database": "shop.db", "allow_execution": True}
    found = score("sql", prediction(query, "SELECT name FROM item"), shop, **settings)
    assert found
    assert (found.value, found.explanation) == (0, "more than 64 MB of values")


@pytest.mark.parametrize(
    ("scorer", "setting", "given"),
    [
        ("code", "max_seconds", 0), ("code", "max_memory_mb", 1), ("sql", "max_seconds", -1),
        ("sql", "max_rows", 0), ("code", "max_seconds", True), ("chrf", "beta", 0),
        ("chrf", "word_order", -1),
    ],
)  # fmt: skip
def test_limits_that_nothing_can_meet_are_refused(scorer: str, setting: str, given: int) -> None:
    with pytest.raises(
        SettingError, match=rf"scorer {scorer}: .*{setting} is {str(given).lower()}"
    ):
        load_scorer(scorer, {setting: given})


def test_fenced_blocks_are_found_in_linear_time() -> None:
    said = "So:\n```python \nif x:\n    y\n\n```\nor\n```\nz```, and ```sql\nselect 1\n```"
    assert fenced(said, frozenset({"python"})) == ["if x:\n    y"]
    assert fenced(said, frozenset({"", "sql"})) == ["z", "select 1"]
    before = time.process_time()
    for hostile in ("```\n" + " " * 10**6, "``` \n" * 10**5, "```" + " " * 10**6, "`" * 10**6):
        fenced(hostile, frozenset({"json"}))
    assert time.process_time() - before < 2


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_code_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": "e", "test": "assert 1"}\n')
    left = tmp_path / "left"
    answer = (
        "import os, time\nchild = os.fork()\n"
        f"if child:\n    open({str(left)!r}, 'w').write(str(child))\nelse:\n    time.sleep(60)"
    )
    settings = {"tests": "t.jsonl", "allow_execution": True, "max_seconds": 2}
    value("code", prediction(answer), Place(tmp_path), **settings)
    if left.exists():  # else the limit on processes did not even let it fork
        pid = int(left.read_text())
        ends = time.monotonic() + 5
        while is_running(pid) and time.monotonic() < ends:
            time.sleep(0.05)  # a kill takes a moment to arrive
        assert not is_running(pid)


def test_code_sees_no_secret_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SARTOR_SECRET", "x")
    test = "import os; assert 'SARTOR_SECRET' not in os.environ"
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "e", "test": test}) + "\n")
    made = prediction("pass")
    settings = {"tests": "t.jsonl", "allow_execution": True}
    assert value("code", made, Place(tmp_path), **settings) == 1


def test_repetition_is_the_share_of_distinct_runs_of_four_words() -> None:
    assert value("repetition", prediction("one two three four five")) == 1
    assert value("repetition", prediction("go on and on " * 10)) == pytest.approx(4 / 37)
    assert value("repetition", prediction("short")) == 1


def test_truncation_and_language() -> None:
    assert value("truncation", prediction("so", finish="length")) == 0
    assert value("truncation", prediction("so")) == 1
    german = "Die Kündigungsfrist beträgt vier Wochen zum Ende eines Kalendermonats."
    english = "The notice period is four weeks to the end of a calendar month, as agreed."
    assert value("language", prediction(german, english)) == 0
    assert value("language", prediction(english, english)) == 1
    assert value("language", prediction(german, question=german)) == 1
    assert value("language", prediction(english), expected="de") == 0
    assert value("language", prediction("ok", english)) is None
    rows = '{"name": "Stirnlampe Lux", "preis": "24,99", "tags": ["outdoor", "neu"]}'
    assert value("language", prediction(f"```json\n{rows}\n```", german)) is None


def test_of_answers_made_elsewhere_nobody_knows_whether_they_were_cut_off() -> None:
    [given] = Given("theirs", {"e": "so"}).predictions([prediction("so").example])
    assert load_scorer("truncation").score([given]) == []


@pytest.mark.parametrize("code", ["German", "deu", "DE"])
def test_a_language_that_no_answer_could_be_in_is_refused(code: str) -> None:
    with pytest.raises(SettingError, match=f"expected is '{code}'; expected one of the codes"):
        load_scorer("language", {"expected": code})
    assert load_scorer("language", {"expected": "de"})


def test_embedding_likes_what_means_the_same_better() -> None:
    near = value("embedding", prediction("The doctor is ill.", "The physician is sick."))
    far = value("embedding", prediction("Interest rates rose.", "The physician is sick."))
    assert near is not None
    assert far is not None
    assert near > far + 0.2


@pytest.mark.reference
def test_retrieval_scores_by_their_formulas() -> None:
    """Evidence d1 and d9; found d0, d1, d1, d2: the second document is the first that is right."""
    example = Example("e", (Message("user", "?"),), ("x",), evidence=("d1", "d9"))
    given = tuple(Passage(d, 0, 1, "t") for d in ("d0", "d1", "d1", "d2"))
    made = Prediction(example, Completion("x", "stop", 1, 1, 0.1, given))
    assert value("recall_at_k", made) == 0.5
    assert value("recall_at_k", made, k=1) == 0
    assert value("mrr", made) == 0.5
    gain = 1 / np.log2(3)
    assert value("ndcg", made) == pytest.approx(gain / (1 + gain), abs=1e-4)


CAT, DOG = "The cat weighs 4 kg.", "The dog weighs 30 kg."


@pytest.mark.parametrize(
    ("answer", "precision", "recall"),
    [
        ("The cat weighs 4 kg [1]. The dog weighs 30 kg [2].", 1, 1),
        ("The cat weighs 4 kg [2]. The dog weighs 30 kg [2].", 0.5, 0.5),
        ("The cat weighs 4 kg. [1] The dog weighs 30 kg.", 1, 0.5),
        ("The cat weighs 4 kg [1, 2].", 0.5, 1),
        ("The cat weighs 4 kg [7].", 0, 0),
        ("The cat weighs 4 kg.", None, 0),
        ("I don't know.", None, None),
    ],
)
def test_citations(answer: str, precision: float | None, recall: float | None) -> None:
    made = prediction(answer, passages=(CAT, DOG))
    assert value("citation_precision", made) == precision
    assert value("citation_recall", made) == recall


def test_settings_are_strict_and_a_scorer_may_stand_under_several_names() -> None:
    tables = {"near": {"scorer": "numeric", "tolerance": 1}, "numeric": {}}
    near, exact = load_scorers(["near", "numeric", "near"], tables)
    made = prediction("5", "6")
    assert [(s.scorer, s.value) for s in (*near.score([made]), *exact.score([made]))] == [
        ("near", 1),
        ("numeric", 0),
    ]
    for settings, said in (
        ({"tolerence": 1}, "did you mean 'tolerance'"),
        ({"tolerance": "much"}, "tolerance is 'much'"),
        ({"tolerance": -1}, "expected 0 or more"),
    ):
        with pytest.raises(SettingError, match=said):
            load_scorer("numeric", settings)
    with pytest.raises(SettingError, match="it has no settings"):
        load_scorer("exact_match", {"case": True})
    with pytest.raises(SettingError, match=r"\[scorers.numric\].*did you mean 'numeric'"):
        load_scorers(["numeric"], {"numric": {}})


OWN = """
def polite(output, targets, word="please"):
    return float(word in output)

def short(prediction):
    return None if not prediction.completion.text else len(prediction.completion.text) < 9

class OneAtATime:
    name = "one"
    binary = False
    def score_one(self, prediction):
        return 0.25

def broken(output, targets):
    return "very"
"""


def test_a_function_of_the_project_is_a_scorer(tmp_path: Path) -> None:
    (tmp_path / "metrics.py").write_text(OWN)
    place = Place(tmp_path)
    made = prediction("please", "x")
    for path, settings, expected in (
        ("metrics.py:polite", {}, 1),
        ("metrics.py:polite", {"word": "thanks"}, 0),
        ("metrics.py:short", {"binary": True}, 1),
        ("metrics.py:OneAtATime", {}, 0.25),
    ):
        scorer = load_scorer("mine", {"scorer": path, **settings}, place)
        [found] = scorer.score([made])
        assert (found.scorer, found.value) == ("mine", expected)
    assert load_scorer("metrics.py:short", None, place).score([prediction("")]) == []
    with pytest.raises(SettingError, match="returned 'very'; expected a number"):
        score("metrics.py:broken", made, place)
    with pytest.raises(SettingError, match="unknown setting 'words'"):
        load_scorer("metrics.py:polite", {"words": "x"}, place)
