"""What candidates may be called, and how techniques are joined into one."""

from __future__ import annotations

from sartor.errors import SettingError

CANDIDATES = ("zero-shot", "few-shot", "rag", "p-tuning", "lora", "full", "rag+lora")
"""What is tried when the project does not say."""
BARE = frozenset(
    {
        "zero-shot", "few-shot", "prompt-tuning", "p-tuning", "prefix-tuning", "ia3", "lora",
        "full", "dpo", "orpo", "kto", "search", "continued-pretraining", "distill",
        "optimized-prompt", "merge", "stack",
    }
)  # fmt: skip
"""Techniques that put no passages before the model."""
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,79}$"
NAME = "begins with a letter or digit, then has letters (a to z), digits, spaces and . _ + -"


def usual_name(technique: str) -> str:
    """The technique's own; of `package.module:Class` the class."""
    return "+".join(part.strip().rpartition(":")[2] for part in technique.split("+"))


def parts(technique: str) -> tuple[str, ...]:
    """The techniques that `rag+lora` joins, outermost first; SettingError where that is none."""
    found = tuple(part.strip() for part in technique.split("+"))
    if not all(found):
        raise SettingError(
            f"technique {technique!r}: a part is empty. Name one on each side of every '+', "
            "such as 'rag+lora'."
        )
    for part in found:
        if found.count(part) > 1:
            raise SettingError(
                f"technique {technique!r}: {part} is in it {found.count(part)} times. "
                "Name each technique once."
            )
    return found
