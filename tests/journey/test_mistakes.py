"""Mistakes of the user's: a message that names file, line or key, exit code 2, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.journey.small_shop import Sartor, set_config


def wrong_key(shop: Path) -> None:
    set_config(shop, "test_fraction", "test_fractoin")


def missing_documents(shop: Path) -> None:
    set_config(shop, "products.csv", "product.csv")


def empty_examples(shop: Path) -> None:
    (shop / "examples.jsonl").write_text("")


def broken_line(shop: Path) -> None:
    with (shop / "examples.jsonl").open("a") as file:
        file.write('{"id": "x", "input": "How\n')


def too_few(shop: Path) -> None:
    path = shop / "examples.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))


def binary_documents(shop: Path) -> None:
    (shop / "products.csv").write_bytes(bytes(range(256)) * 40)


def unknown_technique(shop: Path) -> None:
    set_config(shop, '"lora"]', '"loro"]')


def unknown_scorer(shop: Path) -> None:
    set_config(shop, "max_new_tokens = 8", 'scorers = ["token_f2"]')


def unknown_base(shop: Path) -> None:
    set_config(shop, "[customize]", '[model]\nbase = "./nowhere"\n[customize]')


def not_toml(shop: Path) -> None:
    (shop / "sartor.toml").write_text("[data\n")


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        (wrong_key, ["test_fractoin", "test_fraction"]),
        (missing_documents, ["product.csv", "products.csv"]),
        (empty_examples, ["examples.jsonl"]),
        (broken_line, ["examples.jsonl", "61"]),
        (too_few, ["2 "]),
        (binary_documents, ["products.csv"]),
        (unknown_technique, ["loro", "lora"]),
        (unknown_scorer, ["token_f2", "token_f1"]),
        (unknown_base, ["nowhere", "config.json"]),
        (not_toml, ["sartor.toml", "TOML"]),
    ],
)
def test_a_mistake_is_told_by_name(
    shop: Path, sartor: Sartor, mistake: object, named: list[str]
) -> None:
    assert callable(mistake)
    mistake(shop)
    for verb in ("run", "check"):
        done = sartor(verb, str(shop))
        assert done.returncode == 2, (verb, done.stderr)
        assert "Traceback" not in done.stderr
        assert "error: " in done.stderr
        assert all(name in done.stderr for name in named), done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize(
    "words",
    [("serve", "--port", "0"), ("ask", "How long?"), ("report",)],
    ids=lambda words: words[0],
)
def test_before_the_first_run_there_is_nothing_to_serve(
    shop: Path, sartor: Sartor, words: tuple[str, ...]
) -> None:
    verb, *rest = words
    position = [*rest[:1], str(shop)] if verb == "ask" else [str(shop), *rest]
    done = sartor(verb, *position)
    assert done.returncode == 2
    assert "sartor run" in done.stderr
    assert "Traceback" not in done.stderr
