"""The rules of the house that no type checker and no linter holds."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

import sartor
from sartor.evaluation.scorers.registry import NEED_SETTINGS, SCORERS
from sartor.project import ProjectFile
from sartor.project.section import Section
from sartor.techniques.registry import TECHNIQUES

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "transformers", "peft", "lancedb", "pyarrow", "pandas", "scipy", "fastapi"}
HEAVY |= {"lxml", "uvicorn", "wordllama", "rouge_score"}
WRITTEN = ("src", "tests", "benchmarks", "pretraining")


def files(pattern: str, *folders: str) -> list[Path]:
    """Our own files, by pattern; each folder must hold some, or the test reads nothing."""
    found = {folder: sorted((ROOT / folder).rglob(pattern)) for folder in folders}
    assert all(found.values()), f"no {pattern} in {[name for name in found if not found[name]]}"
    return [path for paths in found.values() for path in paths]


@pytest.mark.parametrize("module", ["sartor", "sartor.cli"])
def test_importing_sartor_imports_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print(*sorted(set(sys.modules) & {HEAVY}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_the_version_is_the_packages() -> None:
    assert sartor.__version__ == version("sartor")


def test_the_changelog_ends_at_the_version_of_the_package() -> None:
    headings = re.findall(
        r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    released = [name for name in headings if name != "Unreleased"]
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert released[0] == package["project"]["version"]


def imported(path: Path) -> set[str]:
    """The packages that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}


def test_every_package_that_is_imported_is_declared() -> None:
    """What src imports is a dependency; what else tests and scripts import is in the dev group."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = package["project"]["optional-dependencies"].values()
    shipped = [*package["project"]["dependencies"], *(line for extra in extras for line in extra)]
    homes = packages_distributions()
    for lines, folders in (
        (shipped, ["src"]),
        ([*shipped, *package["dependency-groups"]["dev"]], ["tests", "benchmarks", "pretraining"]),
    ):
        declared = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in lines}
        ours = {
            "sartor",
            "tests",
            "benchmarks",
            *(path.stem for path in files("*.py", "pretraining", "benchmarks")),
        }
        names = {name for path in files("*.py", *folders) for name in imported(path)}
        others = names - ours - sys.stdlib_module_names
        assert len(others) > 5
        missing = {
            name
            for name in others
            if declared.isdisjoint(
                home.lower().replace("_", "-") for home in homes.get(name, [name])
            )
        }
        assert missing == set(), folders


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("pickles, which run code when read", r"^\s*(import|from) (c?pickle|dill|joblib)\b"),
        ("torch.load, which reads pickles", r"\btorch\.load\("),
        ("code of strangers", r"trust_remote_code\s*=\s*True|allow_pickle\s*=\s*True"),
        ("text run as code", r"(?<![.\w])(eval|exec)\("),
        ("lines of a file split where its text may go on", r"read\w*\(.*\)\.splitlines\("),
    ],
)
def test_no_source_uses(what: str, pattern: str) -> None:
    guilty = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files("*.py", "src", "pretraining")
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
        if re.search(pattern, line)
    ]
    assert guilty == [], what


def test_no_file_names_a_place_of_the_machine_it_was_made_on() -> None:
    """Neither a home or scratch folder, nor a package index that nobody else can reach."""
    private = re.compile(
        r"(?<![\w.])/(?:wo" + r"rk|ro" + r"ot|op" + r"t|tm" + r"p|Us" + r"ers)/[\w.]"
        r"|/ho" + r"me/(?!ada\b)\w"  # whom a test made up
        r"|(?:index-u" + r"rl|find-li" + r"nks)[ =]+(?!https://(?:pypi|download\.pytorch)\.org/)"
    )
    ours = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    ours += files("*", *WRITTEN, "docs", ".ci")
    paths = [path for path in ours if path.is_file() and "__pycache__" not in path.parts]
    guilty = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in paths
        if (found := private.search(path.read_bytes().decode("utf-8", "replace")))
    ]
    assert guilty == []


def test_nothing_is_left_to_do() -> None:
    mark = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
    paths = files("*.py", *WRITTEN) + files("*.md", "docs")
    assert [path for path in paths if mark.search(path.read_text(encoding="utf-8"))] == []


def test_every_source_opens_by_saying_what_it_is_for() -> None:
    paths = [path for path in files("*.py", *WRITTEN) if path.stat().st_size]
    silent = [path for path in paths if not path.read_text(encoding="utf-8").startswith('"""')]
    assert silent == []


def test_no_file_is_named_for_what_it_is_not() -> None:
    shunned = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}
    assert [path for path in files("*.py", "src") if path.stem in shunned] == []


def test_every_technique_has_a_page_that_shows_its_settings() -> None:
    pages = {path.stem: path.read_text(encoding="utf-8") for path in files("*.md", "docs")}
    shown = {name: place.replace(":", ".") for name, place in TECHNIQUES.items()}
    assert {name for name in shown if f"::: {shown[name]}\n" not in pages.get(name, "")} == set()


def test_every_key_of_the_project_file_is_documented() -> None:
    page = (ROOT / "docs" / "project-file.md").read_text(encoding="utf-8")
    missing = [name for name in ProjectFile.model_fields if f"## `[{name}" not in page]
    for section in ProjectFile.model_fields.values():
        if isinstance(section.annotation, type) and issubclass(section.annotation, Section):
            keys = section.annotation.model_fields
            assert keys
            missing += [key for key in keys if f"`{key}`" not in page]
    assert missing == []


def test_every_scorer_is_documented() -> None:
    page = (ROOT / "docs" / "scorers.md").read_text(encoding="utf-8")
    table = {**SCORERS, **NEED_SETTINGS}
    rows = [name for name in table if f"| `{name}` |" not in page]
    assert [name for name in rows if f"`{name}` (`k`)" not in page and name != "mrr"] == []
    for name, place in table.items():
        module, _, kind = place.partition(":")
        made = getattr(importlib.import_module(module), kind)
        fields = getattr(made, "__dataclass_fields__", {})
        assert [key for key in fields if f"`{key}`" not in page] == [], name


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_makefile_has_the_targets_we_promise() -> None:
    assert targets() >= {"demo", "test", "check", "docs", "bench", "clean"}


def test_every_make_command_in_the_docs_exists() -> None:
    pages = [ROOT / "README.md", *files("*.md", "docs")]
    said = {
        (page.name, target)
        for page in pages
        for target in re.findall(r"\bmake ([a-z]+)$", page.read_text(), re.MULTILINE)
        + re.findall(r"`make ([a-z]+)`", page.read_text())
    }
    assert said, "the README names no make command at all"
    assert {pair for pair in said if pair[1] not in targets()} == set()


def test_every_verb_is_in_the_readme() -> None:
    """And the README names no verb that the command line does not have."""
    help_ = subprocess.run(
        [sys.executable, "-m", "sartor", "--help"], capture_output=True, text=True, check=True
    ).stdout
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    verbs = set(re.findall(r"\bsartor (init|check|run|report|serve|ask|history|demo)\b", readme))
    assert verbs >= {"init", "check", "run", "report", "serve", "ask", "history", "demo"}
    assert {verb for verb in verbs if not re.search(rf"\b{verb}\b", help_)} == set()


def test_every_pin_is_exact() -> None:
    lines = (ROOT / "constraints.txt").read_text().split("\n")
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    assert "torch==2.13.0" in pins
