"""[model] bases and [remote.<name>] in the project file: what is accepted, refused, and told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sartor.crossing import bases_of, crossed
from sartor.errors import ProjectError
from sartor.project import ProjectFile, Remote, parse

ROOT = Path(__file__).resolve().parents[1]
FAR = {"endpoint": "https://api.example.com/v1/", "model": "m"}


def file(**tables: Any) -> ProjectFile:
    return parse({"data": {"examples": "e.jsonl"}, **tables}, "sartor.toml")


def names(made: ProjectFile) -> list[tuple[str, str]]:
    return [(one.name, one.base) for one in crossed(made)]


def test_one_base_leaves_names_as_they_are() -> None:
    made = file(customize={"candidates": ["rag", "lora"]}, model={"base": "org/Small-1b"})
    assert names(made) == [("rag", "org/Small-1b"), ("lora", "org/Small-1b")]


def test_every_candidate_is_crossed_with_every_base() -> None:
    model = {"bases": ["org/Large-7b", "models/small"]}
    made = file(customize={"candidates": ["rag", "lora"]}, model=model)
    assert names(made) == [
        ("rag@Large-7b", "org/Large-7b"),
        ("lora@Large-7b", "org/Large-7b"),
        ("rag@small", "models/small"),
        ("lora@small", "models/small"),
    ]


def test_a_candidate_may_name_its_own_base() -> None:
    own = {"technique": "lora", "base": "c"}
    made = file(customize={"candidates": ["rag", "lora", own]}, model={"bases": ["a", "b"]})
    assert bases_of(made) == ("a", "b", "c")
    assert names(made)[-1] == ("lora@c", "c")
    assert len(names(made)) == 5
    assert crossed(made)[-1].candidate.settings == {}
    only = file(customize={"candidates": [own]}, model={"base": "a"})
    assert names(only) == [("lora", "c")]  # nothing is tried on a


def test_bases_that_end_alike_are_told_apart() -> None:
    made = file(customize={"candidates": ["rag"]}, model={"bases": ["a/m", "b/M", "a-m", "c/d?"]})
    found = [name for name, _ in names(made)]
    assert found == ["rag@a-m", "rag@b-M", "rag@a-m.2", "rag@d"]
    assert len({name.lower() for name in found}) == 4


@pytest.mark.parametrize(
    "tables",
    [
        {"models": ["large", "medium", "small"]},
        {"model": {"models": ["large", "medium", "small"]}},
        {"model": {"bases": ["large", "medium", "small"], "ladder": True}},
    ],
)
def test_a_ladder_is_written_in_one_key_or_two(tables: dict[str, Any]) -> None:
    made = file(**tables)
    assert made.model.ladder
    assert made.model.names == ("large", "medium", "small")


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"model": {"bases": ["a"], "base": "b"}}, r"\[model\]: .*base and bases are both given"),
        ({"model": {"bases": ["a", "a"]}}, "bases names 'a' twice"),
        ({"model": {"ladder": True}}, "ladder is true and bases names fewer than two"),
        ({"model": {"models": ["a", "b"], "ladder": False}}, "models stands for bases and ladder"),
        ({"model": {"bases": ["a", "b"], "trust_remote_code": True}}, "Name those whose code may"),
        ({"model": {"trust_remote_code": ["b"]}}, "names 'b', which is no base here"),
        (
            {"model": {"trust_remote_code": "ja"}},
            r"\[model\] trust_remote_code is 'ja': expected true or false",
        ),
        ({"customize": {"candidates": ["rag", "rag"]}}, "two candidates are called 'rag'"),
        ({"remote": {"x/y": FAR}}, r"\[remote.x/y\]: a name begins with"),
        ({"remote": {"thimble": FAR}}, "not 'thimble'"),
        ({"remote": {"x": {**FAR, "endpoint": "ftp://a/v1"}}}, "x.endpoint: not a web address"),
        ({"remote": {"x": {**FAR, "endpoint": "http://"}}}, "not a web address"),
        ({"remote": {"x": {"model": "m"}}}, "x.endpoint is missing"),
        ({"remote": {"x": {**FAR, "api_key": "k"}}}, "'api_key'; did you mean 'api_key_env'"),
        ({"remote": {"x": {**FAR, "budget": 5}}}, "budget is given without prices"),
        ({"remote": {"x": {**FAR, "parameters": {"n": 2}}}}, "parameters sets 'n', which"),
        ({"remote": {"x": {**FAR, "parameters": {"API-key": "k"}}}}, "sets 'API-key', .* variable"),
        ({"remote": {"x": {**FAR, "omit": ["top_p"]}}}, "x.omit.0 is 'top_p'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_advice(tables: dict[str, Any], said: str) -> None:
    with pytest.raises(ProjectError, match=said):
        file(**tables)


def test_a_teacher_is_trusted_by_name() -> None:
    taught = {"technique": "distill+lora", "teacher": "own/teacher"}
    made = file(customize={"candidates": [taught]}, model={"trust_remote_code": ["own/teacher"]})
    assert made.model.trusts("own/teacher")
    assert not made.model.trusts("thimble")


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("api_key_env", "sk-verysecret-0123456789"),
        ("api_key_env", "verysecret0123456789"),
        ("endpoint", "https://me:verysecret0123@api.example.com/v1"),
        ("endpoint", "https://api.example.com/v1?key=verysecret0123"),
        ("endpoint", "verysecret0123"),
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_shown(key: str, secret: str) -> None:
    with pytest.raises(ProjectError, match=rf"\[remote\] x.{key}") as failure:
        file(remote={"x": {**FAR, key: secret}})
    assert "verysecret" not in str(failure.value)


@pytest.mark.parametrize(
    "parameters",
    [
        {"api_key": "verysecret"},
        {"x-api-key": "verysecret"},
        {"token": "verysecret"},
        {"extra_headers": {"Authorization": "Bearer verysecret"}},
    ],
)
def test_a_key_among_parameters_is_refused_and_not_shown(parameters: dict[str, Any]) -> None:
    with pytest.raises(ProjectError, match="Put the key into an environment variable") as failure:
        file(remote={"x": {**FAR, "parameters": parameters}})
    assert "verysecret" not in str(failure.value)


def test_a_schema_for_answers_may_name_a_token() -> None:
    schema = {"json_schema": {"schema": {"properties": {"token": {"type": "string"}}}}}
    assert file(remote={"x": {**FAR, "parameters": {"response_format": schema}}})


def test_code_of_a_judge_may_be_trusted_by_its_name() -> None:
    judged = {"groundedness": {"entailment": "own/judge"}}
    made = file(scorers=judged, model={"trust_remote_code": ["own/judge"]})
    assert made.model.trusts("own/judge")


def test_an_endpoint_may_be_written_to_its_end() -> None:
    written = [
        "https://a.example/v1",
        "https://a.example/v1/",
        "https://a.example/v1/chat/completions",
    ]
    assert {Remote(endpoint=each, model="m").endpoint for each in written} == {written[0]}


def test_every_key_of_a_remote_model_is_documented() -> None:
    pages = [(ROOT / "docs" / name).read_text("utf-8") for name in ("project-file.md", "remote.md")]
    keys = set(Remote.model_fields)
    assert keys
    for page in pages:
        table = page[page.index("[remote.") :]
        assert {key for key in keys if not re.search(rf"`{key}`", table)} == set()


@pytest.mark.parametrize("page", ["remote.md", "models.md"])
def test_project_files_in_the_docs_are_ones(page: str) -> None:
    import tomllib

    text = (ROOT / "docs" / page).read_text("utf-8")
    shown = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert shown
    for block in shown:
        assert crossed(file(**tomllib.loads(block)))


def test_the_python_in_the_docs_asks_a_remote_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.models.endpoints import Say, completion, endpoint, in_turn

    text = (ROOT / "docs" / "remote.md").read_text("utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    with endpoint(in_turn(Say(body=completion("Good day.")))) as one:
        space: dict[str, Any] = {}
        exec(compile(code.replace("https://api.example.com/v1", one.url), "docs", "exec"), space)
    assert space["answer"].text == "Good day."
