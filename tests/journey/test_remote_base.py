"""`sartor run` on models behind a web address: served by sartor itself, and by small endpoints."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from tests import tiny_models
from tests.journey.small_shop import Heard, Sartor, set_config
from tests.models.endpoints import KEY, Endpoint, Got, Say, completion, endpoint
from tests.serving.running import running

from sartor.checkup import check
from sartor.data.records import Conversation
from sartor.errors import ModelError, PromptTooLongError, RemoteError
from sartor.journey import Project
from sartor.models import remote_exchange
from sartor.models.remote import paid
from sartor.models.scripted import ScriptedModel
from sartor.progress import shown_by
from sartor.serving.server import create_app

PRODUCT = re.compile(r"How much does the (.*) cost")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_exchange, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("FAR_KEY", KEY)


def reading(conversation: Conversation) -> str:
    """Knows nothing but what it reads."""
    asked = conversation[-1].content
    name = PRODUCT.findall(asked)[-1]
    price = re.search(rf"{name}.*?(\$\d+)", asked.partition("Question:")[0], re.DOTALL)
    return price[1] if price else "$1"


def configure(folder: Path, candidates: str, remote: str, model: str = 'base = "far"') -> None:
    (folder / "sartor.toml").write_text(
        f"""
[data]
documents = ["products.csv"]
examples = ["examples.jsonl"]
test_fraction = 0.4
validation_fraction = 0.2
[model]
{model}
[customize]
candidates = {candidates}
[evaluate]
max_new_tokens = 8
[criteria]
margin = 0.3
{remote}
"""
    )


def far(url: str, name: str = "far", **more: Any) -> str:
    lines = {"endpoint": url, "model": "m", "api_key_env": "FAR_KEY", "context": 2000, **more}
    rows = "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items())
    return f'[remote."{name}"]\n{rows}\n'


@contextmanager
def served(answer: Callable[[Conversation], str]) -> Iterator[tuple[str, list[Conversation]]]:
    """A scripted model behind sartor's own server, and all that it was asked."""
    got: list[Conversation] = []

    def remembered(conversation: Conversation) -> str:
        got.append(conversation)
        return answer(conversation)

    with running(create_app(ScriptedModel(remembered), "m", api_key=KEY)) as url:
        yield f"{url}/v1", got


def test_a_remote_base_goes_the_whole_way(shop: Path, sartor: Sartor) -> None:
    with served(reading) as (url, got):
        prices: dict[str, Any] = {"input_price": 1000.0, "output_price": 3000.0, "budget": 50.0}
        configure(shop, '["zero-shot", "few-shot", "rag"]', far(url, **prices))
        project = Project.open(shop)
        expected = check(project)
        assert got == []
        decision = project.run()
        assert decision.winner == "rag"
        told = json.loads((shop / ".sartor" / "decision.json").read_text())
        rows = {row["name"]: row for row in told["candidates"]}
        assert rows["rag"]["estimate"]["mean"] > 0.9
        assert rows["few-shot"]["estimate"]["mean"] < 0.5
        report = json.loads((shop / ".sartor" / "reports" / "rag.json").read_text())
        cost = fmean(
            (row["prompt_tokens"] * 1000 + row["new_tokens"] * 3000) / 1e6
            for row in report["predictions"]
        )
        trained = rows["rag"]["training_seconds"] * 0.10 / 3600 / 100_000
        assert rows["rag"]["cost_per_answer"] == pytest.approx(cost + trained)
        assert all(row["passages"] for row in report["predictions"])
        # what `check` expected is of the right size: an English word is more than one token
        spent = paid(project.names.card("far"))
        assert spent < expected.cost < 6 * spent
        assert KEY.encode() not in b"".join(
            path.read_bytes() for path in shop.rglob("*") if path.is_file()
        )

        asked = len(got)
        assert Project.open(shop).run() == decision  # nothing has changed
        for folder in ("answers", "customizations", "reports"):
            shutil.rmtree(shop / ".sartor" / folder)
        assert Project.open(shop).run().winner == "rag"  # all made again, nothing paid again
        assert len(got) == asked
        assert paid(project.names.card("far")) == spent

        answer = project.ask("How much does the Wool Lamp cost?")
        assert answer.text == "$100"
        assert answer.passages
        with running(create_app(Project.open(shop).model(), "shop")) as release:
            import openai

            client = openai.OpenAI(base_url=f"{release}/v1", api_key="none", max_retries=0)
            question: Any = {"role": "user", "content": "How much does the Iron Lamp cost?"}
            pieces = client.chat.completions.create(model="shop", messages=[question], stream=True)
            text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
        assert text == "$55"
        done = sartor("run", str(shop))
        assert "nothing has changed" in done.stderr


def test_techniques_that_train_weights_are_refused_before_anything_is_spent(shop: Path) -> None:
    with served(reading) as (url, got):
        configure(shop, '["zero-shot", "rag+lora"]', far(url))
        project = Project.open(shop)
        for look in (project.run, lambda: check(project)):
            with pytest.raises(ModelError, match=r"rag\+lora: lora trains weights, and base 'far'"):
                look()
        assert got == []


def test_a_missing_key_is_told_before_anything_is_spent(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAR_KEY")
    configure(shop, '["zero-shot"]', far("http://127.0.0.1:9/v1"))
    with pytest.raises(RemoteError, match="environment variable FAR_KEY, which is not set"):
        Project.open(shop).run()


def test_a_budget_that_ends_leaves_no_winner_and_a_higher_one_goes_on(shop: Path) -> None:
    with served(reading) as (url, got):
        prices: dict[str, Any] = {"input_price": 1000.0, "output_price": 1000.0}
        configure(shop, '["zero-shot"]', far(url, **prices, budget=0.3, concurrency=1))
        project = Project.open(shop)
        assert "above" not in str(check(project).faults)
        assert check(project).faults
        with pytest.raises(ModelError, match="the next request could cost up to"):
            project.run()
        first = len(got)
        assert 0 < first < 36
        assert paid(project.names.card("far")) <= 0.3
        configure(shop, '["zero-shot"]', far(url, **prices, budget=50, concurrency=1))
        assert Project.open(shop).run().winner == "zero-shot"
        assert len(got) == 36  # 24 of test and 12 of validation, each once


def test_prompts_that_the_endpoint_finds_too_long_hold_less(shop: Path) -> None:
    def narrow(conversation: Conversation) -> str:
        if sum(len(message.content) for message in conversation) > 250:
            raise PromptTooLongError("too many tokens for this model's context")
        return reading(conversation)

    with served(narrow) as (url, _):
        configure(shop, '["few-shot", "rag"]', far(url))
        decision = Project.open(shop).run()
        assert decision.winner == "rag"
        answer = Project.open(shop).ask("How much does the Wool Lamp cost?", "rag")
        assert (answer.text, len(answer.passages)) == ("$100", 1)


JUDGE = """
[scorers.judge]
model = "critic"
rubric = "Right is good."
repeats = 1
"""


def test_a_judge_that_is_down_costs_its_own_scores_and_the_next_run_asks_for_them(
    shop: Path,
) -> None:
    up: list[bool] = []

    def grade(_: Got) -> Say:
        return Say(body=completion('{"grade": 5}')) if up else Say(500, {"error": "down"})

    with served(reading) as (url, _), endpoint(grade) as critic:
        judge = f"{JUDGE}{far(critic.url, 'critic', retries=0, concurrency=1)}"
        configure(shop, '["zero-shot", "rag"]', far(url) + judge)
        set_config(shop, "[evaluate]", '[evaluate]\nscorers = ["token_f1", "judge"]')
        assert Project.open(shop).run().winner == "rag"
        assert len(critic.got) == 1  # it is not waited for again and again
        without = json.loads((shop / ".sartor" / "reports" / "rag.json").read_text())
        assert "judge" not in without["estimates"]
        assert without["notes"]["judge"].startswith("no scores: ")
        up.append(True)
        assert Project.open(shop).run().winner == "rag"
        whole = json.loads((shop / ".sartor" / "reports" / "rag.json").read_text())
        assert whole["estimates"]["judge"]["mean"] == 1


def by_model(**right: float) -> Callable[[Got], Say]:
    """Models that know the price of so large a share of the products; one that is down for 0."""

    def answer(got: Got) -> Say:
        model, asked = got.body["model"], got.body["messages"][-1]["content"]
        kind, word = PRODUCT.findall(asked)[-1].split(" ")
        from tests.journey.small_shop import WORDS

        number = ("Oak", "Iron", "Wool", "Glass").index(kind) * len(WORDS) + WORDS.index(word)
        if right[model] < 0:
            return Say(500, {"error": "down"})
        known = (number * 7919) % 100 < 100 * right[model]
        return Say(body=completion(f"${7 + 3 * number}" if known else "no"))

    return answer


def ladder(shop: Path, one: Endpoint, model: str = 'models = ["large", "medium", "small"]') -> None:
    prices = {"large": 9.0, "medium": 3.0, "small": 1.0}
    tables = [
        far(one.url, name, model=name, input_price=price, output_price=price, retries=0)
        for name, price in prices.items()
    ]
    terse = '{ name = "terse", technique = "zero-shot", system = "Be brief." }'
    configure(shop, f'["zero-shot", {terse}]', "".join(tables), model)


def asked_models(one: Endpoint) -> set[str]:
    return {got.body["model"] for got in one.got}


def test_a_ladder_ends_at_the_smallest_base_that_is_good_enough(shop: Path) -> None:
    with endpoint(by_model(large=1.0, medium=1.0, small=0.3)) as one:
        ladder(shop, one)
        decision = Project.open(shop).run()
        assert decision.winner in ("zero-shot@medium", "terse@medium")
        assert asked_models(one) == {"large", "medium", "small"}
        told = json.loads((shop / ".sartor" / "decision.json").read_text())
        assert told["not_tried"] == []
        assert [row["name"] for row in told["candidates"]][:2] == ["zero-shot@large", "terse@large"]
        page = (shop / "report.html").read_text()
        assert page.count("zero-shot@small") > 1
        assert "large, medium, small" in page
        plotted = page[page.index('class="tradeoff wide"') :]
        assert plotted[: plotted.index("</svg>")].count('<line class="whisker') == 6


def test_a_ladder_stops_where_a_base_is_worse_and_says_what_was_not_tried(
    shop: Path, sartor: Sartor
) -> None:
    with endpoint(by_model(large=1.0, medium=0.2, small=1.0)) as one:
        ladder(shop, one)
        done = sartor("run", str(shop), "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["winner"] in ("zero-shot@large", "terse@large")
        assert asked_models(one) == {"large", "medium"}
        [first, second] = told["not_tried"]
        assert (first["name"], second["name"]) == ("zero-shot@small", "terse@small")
        assert "the ladder ended at medium" in first["why"]
        assert "is worse than zero-shot@large" in first["why"] or "terse@large" in first["why"]
        assert "zero-shot@small was not tried" in done.stderr
        assert "zero-shot@small was not tried" in (shop / "report.html").read_text()
        again = sartor("report", str(shop))
        assert "zero-shot@small was not tried" in again.stderr
        assert "nothing has changed" in sartor("run", str(shop)).stderr
        # without the ladder all are tried, and what was asked is not asked again
        before = len(one.got)
        ladder(shop, one, 'bases = ["large", "medium", "small"]')
        assert Project.open(shop).run().winner in ("zero-shot@small", "terse@small")
        assert {got.body["model"] for got in one.got[before:]} == {"small"}


def test_a_base_that_fails_does_not_lose_the_others(shop: Path) -> None:
    with endpoint(by_model(large=-1.0, medium=1.0, small=1.0)) as one:
        ladder(shop, one)
        heard = Heard()
        with shown_by(heard):
            project = Project.open(shop)
            decision = project.run()
        assert decision.winner is None
        assert "zero-shot@large, terse@large failed" in decision.reason
        assert "ladder: large: no candidate could be run on it" in heard.lines
        assert project.outcome().summary.words.ship == (
            "Ship nothing yet. Mend what failed, or leave it out, and run again."
        )
        assert len(decision.comparisons) == 4
        assert asked_models(one) == {"large", "medium", "small"}


def test_a_base_that_comes_or_goes_leaves_the_work_of_the_others(shop: Path) -> None:
    with endpoint(by_model(large=1.0, medium=0.5, small=0.5)) as one:
        ladder(shop, one, 'base = "large"')
        alone = Project.open(shop)
        alone.run()
        before, asked = made(shop), len(one.got)
        ladder(shop, one, 'bases = ["large", "small"]')
        both = Project.open(shop)
        both.run()
        after = made(shop)
        assert before
        assert {name: after[name] for name in before} == before
        assert {got.body["model"] for got in one.got[asked:]} == {"small"}
        entries = {entry.candidate: entry for entry in both.history()[1].entries}
        assert entries["zero-shot@large"].changed == ()
        assert entries["zero-shot@small"].changed == ("new",)
        ladder(shop, one, 'base = "large"')
        asked = len(one.got)
        Project.open(shop).run()
        assert len(one.got) == asked
        assert [entry.changed for entry in both.history()[2].entries] == [(), ()]


def made(folder: Path) -> dict[str, int]:
    """What candidates are made of, by when it was written."""
    paths = [*(folder / ".sartor" / "customizations").rglob("*")]
    paths += [*(folder / ".sartor" / "answers").rglob("*.jsonl")]
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in paths if path.is_file()
    }


def test_weights_are_trained_on_the_bases_that_have_them_here(shop: Path) -> None:
    from sartor.project import read

    with served(reading) as (url, _):
        configure(shop, '["zero-shot", "lora"]', far(url), 'bases = ["thimble", "far"]')
        project = Project.open(shop)
        assert [trial.name for trial in project.trials()] == [
            "zero-shot@thimble", "lora@thimble", "zero-shot@far",
        ]  # fmt: skip
        [passed] = project.left_out()
        assert str(passed).startswith("lora@far was not tried: lora trains weights")
        assert read(shop).model.names == ("thimble", "far")
        configure(
            shop,
            '["zero-shot", { technique = "lora", base = "far" }]',
            far(url),
            'bases = ["thimble", "far"]',
        )
        with pytest.raises(ModelError, match="lora@far: lora trains weights"):
            Project.open(shop).run()


def test_a_technique_learns_from_a_remote_model_by_name_and_its_price_is_counted(
    shop: Path,
) -> None:
    def run(url: str, model: str) -> tuple[float, str]:
        prices: dict[str, Any] = {"input_price": 1e3, "output_price": 1e3, "model": model}
        learner = '[{ name = "pupil", technique = "tests.journey.learner:Learner" }]'
        configure(shop, learner, far(url, "teacher", **prices), 'base = "thimble"')
        project = Project.open(shop)
        project.run()
        made = project.release("pupil").customization
        answer = project.ask("How much is it?", "pupil").text
        told = json.loads((shop / ".sartor" / "decision.json").read_text())
        cost = told["candidates"][0]["cost_per_answer"]
        assert cost == pytest.approx(made.paid / 100_000, abs=1e-9)
        return made.paid, answer

    with endpoint(lambda got: Say(body=completion(f"taught by {got.body['model']}"))) as one:
        paid_first, answer = run(one.url, "first")
        assert answer == "taught by first"
        assert len(one.got) == 5
        paid_second, answer = run(one.url, "second")
        assert answer == "taught by second"
    assert [paid_first, paid_second] == pytest.approx([5 * 0.11] * 2)


@pytest.mark.parametrize("priced", [True, False])
def test_what_a_remote_teacher_will_be_paid_is_told_before(shop: Path, priced: bool) -> None:
    def expected(teacher: str) -> Any:
        settings = f"[techniques.lora]\nepochs = 1.0\n[techniques.distill]\n{teacher}\n"
        rows = far(one.url, **(prices if priced else {}))
        configure(shop, '["zero-shot", "distill+lora"]', settings + rows, 'base = "thimble"')
        with_teacher = check(Project.open(shop)).candidates
        return {candidate.name: candidate for candidate in with_teacher}

    prices: dict[str, Any] = {"input_price": 1e3, "output_price": 2e3}
    with endpoint(lambda got: Say(body=completion("$1"))) as one:
        found = expected('teacher = "far"\nteacher_technique = "zero-shot"')
        assert not one.got
        row, bare = found["distill+lora"], found["zero-shot"]
        assert bare.cost == 0
        if not priced:
            assert row.cost == 0
            assert "[remote.far] gives no input_price and no output_price" in row.note
            return
        assert not row.note
        project = Project.open(shop)
        project.run()
        spent = paid(project.names.card("far"))
        assert one.got
        assert 0.3 * spent < row.cost < 6 * spent
        prices["budget"] = row.cost / 2
        assert "of the budget of" in expected('teacher = "far"')["distill+lora"].why


def test_estimate_tells_what_remote_candidates_cost(shop: Path) -> None:
    from sartor.costed import Machine
    from sartor.costing import of_project

    with served(reading) as (url, got):
        prices: dict[str, Any] = {"input_price": 1e3, "output_price": 2e3}
        configure(shop, '["zero-shot"]', far(url, **prices), 'bases = ["far", "thimble"]')
        for machine in (Machine(price=1.0), Machine("H100", price=1.0)):
            far_away, here = of_project(Project.open(shop), machine).costed
            assert far_away.money == far_away.paid > 0
            assert far_away.energy_kwh == 0 < here.energy_kwh
            assert here.paid == 0 < here.money
        assert not got


def test_a_budget_that_suffices_for_each_and_not_for_all_is_told(shop: Path) -> None:
    def expected(**budget: float) -> Any:
        prices: dict[str, Any] = {"input_price": 1e3, "output_price": 2e3, **budget}
        configure(shop, '["zero-shot", "few-shot"]', far("http://127.0.0.1:9/v1", **prices))
        return check(Project.open(shop)).candidates

    first, second = (one.cost for one in expected())
    assert [one.why for one in expected(budget=(first + second) * 1.01)] == ["", ""]
    enough, short = expected(budget=max(first, second) * 1.01)
    assert enough.why == ""
    assert f"those of the candidates before it about {first:.3g}" in short.why


def test_several_bases_that_run_here_are_each_customized(shop: Path) -> None:
    for architecture in ("llama", "gpt2"):
        tiny_models.save(shop / "bases" / architecture, architecture)

    def run(model: str) -> Project:
        settings = "[techniques.lora]\nlearning_rates = [0.002]\nepochs = 1.0\nrank = 2\n"
        configure(shop, '["zero-shot", "lora"]', settings, model)
        project = Project.open(shop)
        project.run()
        return project

    two = run('bases = ["bases/llama", "bases/gpt2"]')
    told = json.loads((shop / ".sartor" / "decision.json").read_text())
    assert [(row["name"], row["base"]) for row in told["candidates"]] == [
        ("zero-shot@llama", "bases/llama"),
        ("lora@llama", "bases/llama"),
        ("zero-shot@gpt2", "bases/gpt2"),
        ("lora@gpt2", "bases/gpt2"),
    ]
    trained = {row["name"]: row["trainable_parameters"] for row in told["candidates"]}
    assert trained["lora@llama"] > 0 < trained["lora@gpt2"]
    assert trained["zero-shot@gpt2"] == 0
    page = (shop / "report.html").read_text()
    assert "base bases/llama" in page
    before = made(shop)
    one = run('base = "bases/gpt2"')
    after = made(shop)
    assert before.items() <= after.items()
    assert all("lora" not in name for name in after.keys() - before.keys())
    assert [entry.changed for entry in one.history()[1].entries] == [(), ()]
    assert two.ask("How much does the Oak Table cost?", "lora@llama").prompt_tokens > 0
