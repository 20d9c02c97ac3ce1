"""The folder that ships: small, holding nothing that can run, with a card that says what it is."""

from __future__ import annotations

from pathlib import Path

import sartor

FOLDER = Path(sartor.__file__).parent / "models" / "thimble"
MEGABYTE = 1_000_000


def test_its_weights_are_safetensors_only() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert "model.safetensors" in names
    assert {Path(name).suffix for name in names} <= {".safetensors", ".json", ".jinja", ".md"}


def test_it_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 25 * MEGABYTE


def test_its_chat_template_knows_system_user_and_assistant() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    roles = ("system", "user", "assistant")
    text = tokenizer.apply_chat_template(
        [{"role": role, "content": f" {role} said "} for role in roles], tokenize=False
    )
    turns = "".join(f"<|{role}|>{role} said<|end|>" for role in roles)
    assert text == f"<|begin|>{turns}"
    specials = {f"<|{name}|>" for name in ("begin", "end", "pad", *roles)}
    assert specials == {token for token in tokenizer.get_vocab() if token.startswith("<|")}


def test_its_card_has_its_licence_its_sources_and_its_limits() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    assert "license: apache-2.0" in front.split("\n")
    assert "not one to build a product on" in body
    for source in ("OpenStax", "tldr-pages", "PEPs", "CC BY 4.0", "CC0"):
        assert source in body
