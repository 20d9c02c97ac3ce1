"""Slices: which there are, and which of them are more than noise."""

from __future__ import annotations

import numpy as np
import pytest

from sartor.data.records import Example, Message
from sartor.evaluation.language import language_of
from sartor.evaluation.slice_findings import slice_findings
from sartor.evaluation.slicing import slices


def asked(n: int, text: str = "?", tags: tuple[str, ...] = (), group: str = "") -> Example:
    return Example(f"e{n}", (Message("user", text),), ("yes",), group=group, tags=tags)


def test_requests_are_sliced_by_length_document_and_language() -> None:
    short = [asked(n, "How much is the lamp?", group="lamps") for n in range(10)]
    middle = [asked(n, "Wie lang ist die Garantie für das Modell?") for n in range(10, 20)]
    long = [asked(n, "What is " + "very " * 20 + "old?") for n in range(20, 30)]
    found = {name: len(inside) for name, inside in slices([*short, *middle, *long]).items()}
    assert found == {
        "length: under 8 words": 10, "length: 8 to 23 words": 20, "document: lamps": 10,
        "language: English": 20, "language: German": 10,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How long is the warranty of this lamp?", "English"),
        ("I was in a hurry at the time", "English"),
        ("Why do a plant and an animal cell differ?", "English"),
        ("Wie viele Zelte liegen im Lager in Mio. Stück?", "German"),
        ("Qual é o prazo da devolução para este produto?", "Portuguese"),
        ("Quelle est la durée de la garantie pour ce produit ?", "French"),
        ("¿Cuál es el plazo de la devolución para este producto?", "Spanish"),
        ("この製品の保証期間は?", "Japanese"),
        ("保修期是多久?", "Chinese"),
        ("Какой срок гарантии?", "Cyrillic"),
        ("lamp", ""),
        ("123 !!", ""),
    ],
)
def test_a_language_is_named_where_it_can_be_told(text: str, language: str) -> None:
    assert language_of(text) == language


def test_a_weak_slice_is_found_and_comes_first() -> None:
    random = np.random.default_rng(3)
    examples = [asked(n, tags=(f"tag {n % 6}",)) for n in range(300)]
    scored = {e.id: float(random.uniform() < (0.4 if n % 6 == 2 else 0.8))
              for n, e in enumerate(examples)}  # fmt: skip
    found = slice_findings(examples, scored, seed=0)
    assert [one.mean for one in found] == sorted(one.mean for one in found)
    first = found[0]
    assert (first.slice, first.n, first.finding) == ("tag 2", 50, True)
    inside = [scored[e.id] for e in examples if "tag 2" in e.tags]
    outside = [scored[e.id] for e in examples if "tag 2" not in e.tags]
    assert (first.mean, first.rest) == pytest.approx((np.mean(inside), np.mean(outside)))
    assert not any(one.finding for one in found[1:] if one.difference < 0)


@pytest.mark.parametrize("grouped", [False, True])
def test_noise_is_seldom_called_a_finding(grouped: bool) -> None:
    """Eight slices in each of 100 worlds without any difference; groups of five move together."""
    false = 0
    for world in range(100):
        random = np.random.default_rng(world)
        examples = [
            asked(n, tags=(f"tag {n // 5 % 8}",), group=f"g{n // 5}" if grouped else "")
            for n in range(200)
        ]
        shared = np.repeat(random.uniform(size=40), 5)
        values = shared if grouped else random.uniform(size=200)
        scored = {e.id: float(v > 0.3) for e, v in zip(examples, values, strict=True)}
        tags = [one for one in slice_findings(examples, scored, 0) if one.slice[:3] == "tag"]
        assert len(tags) == 8
        false += any(one.finding for one in tags)
    assert false <= 11  # 5 expected; 11 or fewer in 99 of 100 such tests


def test_where_every_answer_is_right_there_is_nothing_to_find() -> None:
    examples = [asked(n, tags=(f"tag {n % 2}",)) for n in range(40)]
    found = slice_findings(examples, {e.id: 1.0 for e in examples}, seed=0)
    assert [one.p for one in found] == [1.0, 1.0]
