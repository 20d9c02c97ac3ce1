"""A new project: a folder with a commented sartor.toml, from a starter or from one's own data."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

from sartor import starters
from sartor.data.files import write_text
from sartor.data.sources import find
from sartor.errors import ProjectError
from sartor.project import BARE, CANDIDATES, FILE, parse
from sartor.techniques.registry import build

TEMPLATE = """\
# What to try, on what, and what is good enough. `sartor check` tells what a run would take,
# `sartor run` does it. Every key: docs/project-file.md

[project]
name = {name}
seed = 0                      # decides the split, the order of training and every resample

[data]
documents = {documents}       # files, folders or patterns
examples = {examples}         # JSONL or CSV: input, output, and if known document_ids and label
test_fraction = 0.2           # held out to decide on; never seen in training
max_test = 300                # at most so many: more narrows the intervals, and takes longer
validation_fraction = 0.1     # for choosing learning rates and when to stop
max_validation = 100

[model]
base = {base}                 # "thimble" (tiny, to try things out), a folder, or a hub id

[customize]                   # what is tried, all on the same examples
candidates = [
{candidates}
]

{techniques}[criteria]                    # what the winner must be; written before the first run
scorer = "token_f1"           # exact_match, token_f1, rouge_l, groundedness, answered, abstention
margin = 0.03                 # losing no more than this to the best is good enough
# max_seconds = 2.0           # an answer
# max_cost = 0.001            # an answer
# max_memory_gb = 4.0

[cost]
currency = "USD"
machine_per_hour = 0.10       # of the machine that answers
expected_requests = 100_000   # what training is spread over
"""

SMALL: dict[str, str] = {
    "rag": """\
top_k = 2                     # passages a request; thimble reads two better than more
""",
    "p-tuning": """\
max_tokens = 150_000          # trained on at most so many, for each candidate
""",
    "lora": """\
max_tokens = 250_000
learning_rates = [0.003, 0.006]   # larger models want less
""",
    "full": """\
max_tokens = 250_000
learning_rates = [0.0005, 0.0012]
""",
}
"""Settings that suit thimble and a laptop; other bases begin with the techniques' own."""


def create(
    folder: Path,
    *,
    use_case: str | None = None,
    documents: Sequence[Path] = (),
    examples: Sequence[Path] = (),
    base: str = "thimble",
    candidates: Sequence[str] | None = None,
) -> Path:
    """Write the project and return its file; nothing that is there already is touched."""
    path = folder / FILE
    if path.exists():
        raise ProjectError(f"{path} is there already. Change it, or choose another folder.")
    _refuse_file(folder)
    if candidates is None:
        candidates = [c for c in CANDIDATES if use_case or documents or c in BARE]
    for candidate in candidates:
        build(candidate)
    if use_case:
        if documents or examples:
            raise ProjectError(
                "a starter brings its own documents and examples: "
                "give --use-case, or --documents and --examples, not both."
            )
        starters.copy(use_case, folder)
        named = (["documents"], ["examples.jsonl"])
    elif examples:
        named = (
            [_named(path, folder, "--documents") for path in documents],
            [_named(path, folder, "--examples") for path in examples],
        )
    else:
        raise ProjectError(
            "nothing to start from. Give --examples FILE.jsonl (and --documents FOLDER), or a "
            f"starter: --use-case {' or '.join(starters.names())}."
        )
    text = _filled(folder.resolve().name, *named, _base(base), candidates)
    parse(tomllib.loads(text), str(path))
    write_text(path, text)
    return path


def _refuse_file(folder: Path) -> None:
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise ProjectError(
                f"{path} is a file, and a project needs a folder. Give another path."
            )


def _filled(
    name: str, documents: list[str], examples: list[str], base: str, candidates: Sequence[str]
) -> str:
    return TEMPLATE.format(
        name=_quoted(name),
        documents=_quoted(documents),
        examples=_quoted(examples),
        base=_quoted(base),
        candidates="\n".join(f"    {_quoted(candidate)}," for candidate in candidates),
        techniques=_techniques(candidates) if base == "thimble" else "",
    )


def _techniques(candidates: Sequence[str]) -> str:
    used = {part.strip() for candidate in candidates for part in candidate.split("+")}
    return "".join(f"[techniques.{name}]\n{SMALL[name]}\n" for name in SMALL if name in used)


def _quoted(value: str | list[str]) -> str:
    """As TOML has it: its basic strings are JSON's, but for U+007F."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _named(path: Path, folder: Path, option: str) -> str:
    """How the project names a path: relative when it lies inside, else whole."""
    whole = Path(path).expanduser().resolve()
    find(whole.parent, [str(whole)], option)
    inside = folder.resolve()
    return whole.relative_to(inside).as_posix() if whole.is_relative_to(inside) else str(whole)


def _base(base: str) -> str:
    """A folder by its whole path, for the project may lie elsewhere; any other name as it is."""
    try:
        path = Path(base).expanduser()
    except RuntimeError:  # nobody's home: told by its key when the file is read
        return base
    return str(path.resolve()) if base != "thimble" and path.is_dir() else base
