"""Remote models, against real servers on this machine that behave and misbehave."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent import futures
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from tests.journey.small_shop import Heard
from tests.models.endpoints import (
    KEY,
    Got,
    Say,
    ask,
    completion,
    endpoint,
    in_turn,
    model,
)

from sartor.errors import (
    BudgetError,
    DataError,
    MissingExtraError,
    ModelError,
    PromptTooLongError,
    RemoteError,
)
from sartor.models import remote, remote_exchange
from sartor.models.language_model import Completion, Sampling
from sartor.models.remote import is_open_to_others, paid
from sartor.progress import shown_by

PRICES = {"input_price": 1000.0, "output_price": 2000.0}
"""100 tokens and 10: 0.12 an answer."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries are there, and short."""
    monkeypatch.setattr(remote_exchange, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("FAR_KEY", KEY)


def well(_: Got) -> Say:
    return Say(body=completion())


def test_a_conversation_is_asked_as_openai_has_it_and_answered(tmp_path: Path) -> None:
    with endpoint(well) as one:
        far = model(one.url, tmp_path, api_key_env="FAR_KEY", parameters={"top_k": 1})
        [answer] = far.generate([ask()], Sampling(max_new_tokens=32, stop=("\n",)))
    assert (answer.text, answer.finish) == ("four weeks", "stop")
    assert (answer.prompt_tokens, answer.new_tokens) == (100, 10)
    assert answer.seconds > 0
    [got] = one.got
    assert got.path == "/v1/chat/completions"
    assert got.headers["Authorization"] == f"Bearer {KEY}"
    assert got.body == {
        "model": "m-1",
        "messages": [{"role": "user", "content": "How long is the notice period?"}],
        "max_tokens": 32,
        "temperature": 0.0,
        "seed": 0,
        "stop": ["\n"],
        "top_k": 1,
    }


def test_what_an_endpoint_does_not_take_is_left_out(tmp_path: Path) -> None:
    with endpoint(well) as one:
        settings: dict[str, Any] = {"token_limit": "max_completion_tokens"}
        far = model(one.url, tmp_path, omit=["temperature", "seed"], **settings)
        far.generate([ask()], Sampling(max_new_tokens=32))
    assert one.got[0].body.keys() == {"model", "messages", "max_completion_tokens"}
    assert "Authorization" not in one.got[0].headers


def test_answers_come_in_order_several_at_once_and_no_more_than_allowed(tmp_path: Path) -> None:
    def echo(got: Got) -> Say:
        return Say(body=completion(got.body["messages"][0]["content"]), seconds=0.1)

    with endpoint(echo) as one:
        far = model(one.url, tmp_path, concurrency=3)
        answers = far.generate([ask(f"q{i}") for i in range(9)], Sampling())
    assert [answer.text for answer in answers] == [f"q{i}" for i in range(9)]
    assert one.most_at_once == 3


def test_what_was_asked_before_is_not_asked_again_by_any_process(tmp_path: Path) -> None:
    with endpoint(well) as one:
        first = model(one.url, tmp_path).generate([ask(), ask(), ask("other")], Sampling())
        again = model(one.url, tmp_path, budget=1.0, **PRICES)
        assert again.generate([ask(), ask(), ask("other")], Sampling()) == first
        assert len(one.got) == 2
        again.generate([ask()], Sampling(max_new_tokens=7))
        model(one.url, tmp_path, parameters={"top_k": 1}).generate([ask()], Sampling())
        assert len(one.got) == 4
        code = (
            "import sys; from tests.models.endpoints import *; from sartor.models.language_model "
            "import Sampling; from pathlib import Path; "
            "print(model(sys.argv[1], Path(sys.argv[2])).generate([ask()], Sampling())[0].text)"
        )
        run = [sys.executable, "-c", code, one.url, str(tmp_path)]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        assert done.stdout == "four weeks\n"
        assert len(one.got) == 4


def test_a_greedy_answer_does_not_depend_on_the_seed_and_a_sampled_one_does(
    tmp_path: Path,
) -> None:
    with endpoint(well) as one:
        far = model(one.url, tmp_path)
        for seed in (1, 2):
            far.generate([ask()], Sampling(seed=seed))
            far.generate([ask()], Sampling(seed=seed, temperature=0.5))
    assert [got.body["seed"] for got in one.got] == [0, 1, 2]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_what_may_pass_is_tried_again(status: int, tmp_path: Path) -> None:
    with endpoint(in_turn(Say(status, {}), Say(status, b"<html>"), Say(body=completion()))) as one:
        [answer] = model(one.url, tmp_path).generate([ask()], Sampling())
    assert answer.text == "four weeks"
    assert len(one.got) == 3


@pytest.mark.parametrize(
    "wait",
    [{"Retry-After": "0.4"}, {"retry-after-ms": "400"}, {"Retry-After": "date"}],
)
def test_an_endpoint_that_asks_to_wait_is_waited_for(wait: dict[str, str], tmp_path: Path) -> None:
    if "date" in wait.values():
        at = datetime.now(UTC) + timedelta(seconds=2)  # dates have whole seconds
        wait = {"Retry-After": format_datetime(at, usegmt=True)}
    with endpoint(in_turn(Say(429, {}, wait), Say(body=completion()))) as one:
        began = time.monotonic()
        model(one.url, tmp_path).generate([ask()], Sampling())
    assert time.monotonic() - began > 0.39
    assert len(one.got) == 2


def test_those_who_have_their_turn_already_wait_too(tmp_path: Path) -> None:
    """Four are paced, ten a second; the second is asked to wait for a second."""
    times: list[float] = []

    def slow(_: Got) -> Say:
        times.append(time.monotonic())
        if len(times) == 2:
            return Say(429, {}, {"Retry-After": "1"})
        return Say(body=completion())

    with endpoint(slow) as one:
        far = model(one.url, tmp_path, requests_per_minute=600, concurrency=4)
        far.generate([ask(str(number)) for number in range(6)], Sampling())
    assert len(times) == 7
    assert times[2] - times[1] > 0.9
    assert times[6] - times[2] > 0.2  # nor do they come all at once then


def test_a_ledger_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    with endpoint(well) as one:
        far = model(one.url, tmp_path)
        far.generate([ask()], Sampling())
        [file] = tmp_path.rglob("answers.sqlite")
        with closing(sqlite3.connect(file)) as old:
            old.execute("drop table held")
            old.commit()
        far = model(one.url, tmp_path)
        far.generate([ask(), ask("Who pays?")], Sampling())
    assert len(one.got) == 2


def test_what_a_model_thinks_is_paid_though_it_is_no_completion(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 510}
    with endpoint(in_turn(Say(body=completion(usage=usage)))) as one:
        far = model(one.url, tmp_path, **PRICES)
        [answer] = far.generate([ask()], Sampling())
    assert answer.new_tokens == 410
    assert paid(far.card) == pytest.approx(0.1 + 0.82)


def test_an_endpoint_that_asks_to_wait_too_long_is_not_waited_for(tmp_path: Path) -> None:
    with (
        endpoint(in_turn(Say(429, {"error": "slow"}, {"Retry-After": "3600"}))) as one,
        pytest.raises(RemoteError, match=r"status 429: slow.*asks to wait 3,600 seconds"),
    ):
        model(one.url, tmp_path).generate([ask()], Sampling())
    assert len(one.got) == 1


def bad(body: Any) -> Say:
    return Say(400, {"error": body})


@pytest.mark.parametrize(
    ("said", "tries", "message"),
    [
        (Say(500, {"error": {"message": "on fire"}}), 2, r"has a fault \(status 500: on fire"),
        (Say(429, {}), 2, "limits how many requests it takes.*requests_per_minute"),
        (Say(401, {}), 1, "refuses the key.*environment variable FAR_KEY"),
        (Say(403, {}), 1, "refuses the key"),
        (Say(404, {"error": {"message": "no m-1"}}), 1, r"no model 'm-1' \(status 404: no m-1"),
        (Say(402, {}), 1, "credit is used up"),
        (Say(429, {"error": {"code": "insufficient_quota"}}), 1, "credit is used up"),
        (bad("bad seed"), 1, "status 400: bad seed.*omit"),
        (
            Say(422, {"detail": [{"loc": ["body", "seed"], "msg": "not permitted"}, 7]}),
            1,
            r"\(status 422: seed: not permitted\).*omit",
        ),
        (Say(200, b"<html>hello"), 2, "no JSON object"),
        (Say(200, b"[" * 100_000), 2, "no JSON object"),
        (Say(200, [1]), 2, "no JSON object"),
        (Say(200, {"choices": []}), 2, "answered with no choices"),
        (Say(200, {"error": {"message": "asleep"}}), 2, r"no choices \(asleep\)"),
        (Say(200, {"choices": [{"finish_reason": "stop"}]}), 2, "without a message"),
        (Say(200, {"choices": [{"message": {"content": 7}}]}), 2, "a message that is no text"),
        (
            Say(200, {"choices": [{"message": {"content": None, "tool_calls": [1]}}]}),
            1,
            "asked for a tool",
        ),
        (Say(200, b"x" * (17 << 20)), 1, "more than 16 MiB"),
    ],
)
def test_what_goes_wrong_is_told_with_what_to_do(
    said: Say, tries: int, message: str, tmp_path: Path
) -> None:
    with endpoint(in_turn(said)) as one, pytest.raises(RemoteError, match=message) as failure:
        model(one.url, tmp_path, retries=1, api_key_env="FAR_KEY").generate([ask()], Sampling())
    assert len(one.got) == tries
    assert "remote model 'far'" in str(failure.value)
    assert ("tried 2 times" in str(failure.value)) == (tries == 2)


@pytest.mark.parametrize(
    "said",
    [
        bad({"message": "?", "code": "context_length_exceeded"}),
        bad({"message": "This model's maximum context length is 4096 tokens. However, ..."}),
        bad({"message": "prompt is too long: 9000 tokens > 4096 maximum"}),
        Say(400, {"detail": "the input exceeds the context window"}),
        Say(413, b"too large"),
    ],
)
def test_a_prompt_that_does_not_fit_is_told_apart(said: Say, tmp_path: Path) -> None:
    with endpoint(in_turn(said)) as one, pytest.raises(PromptTooLongError, match="fewer passages"):
        model(one.url, tmp_path).generate([ask()], Sampling())
    assert len(one.got) == 1


def test_an_answer_that_was_held_back_is_an_unanswered_question(tmp_path: Path) -> None:
    with endpoint(in_turn(Say(body=completion("partly", "content_filter")))) as one:
        [answer] = model(one.url, tmp_path).generate([ask()], Sampling())
    assert (answer.text, answer.finish) == ("", "content_filter")


def test_a_request_that_was_held_back_is_an_unanswered_question_and_costs_nothing(
    tmp_path: Path,
) -> None:
    held = bad({"message": "filtered by Azure OpenAI's policy", "code": "content_filter"})
    with endpoint(in_turn(held)) as one:
        far = model(one.url, tmp_path, budget=0.4, **PRICES)
        for _ in range(2):
            [answer] = far.generate([ask()], ROOM)
            assert (answer.text, answer.finish, answer.new_tokens) == ("", "content_filter", 0)
        [streamed] = far.stream(ask("Again?"), ROOM)
        assert isinstance(streamed, Completion)
        assert streamed.finish == "content_filter"
        assert paid(far.card) == 0
    assert len(one.got) == 2  # asked once each


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": None, "refusal": "I cannot."}, "I cannot."),
        ({"content": None}, ""),
        ({"content": "a\ud800b"}, "a\ufffdb"),  # JSON may say it, and no file can hold it
    ],
)
def test_content_of_every_shape_is_read(message: Any, text: str, tmp_path: Path) -> None:
    body = {"choices": [{"message": message, "finish_reason": "length"}]}
    with endpoint(in_turn(Say(body=body))) as one:
        [answer] = model(one.url, tmp_path).generate([ask()], Sampling())
    assert (answer.text, answer.finish) == (text, "length")
    assert answer.prompt_tokens > 10  # estimated, since nobody said


def test_a_hang_ends_and_nothing_waits_for_ever(tmp_path: Path) -> None:
    with endpoint(in_turn(Say(body=completion(), seconds=30.0))) as one:
        began = time.monotonic()
        with pytest.raises(RemoteError, match=r"no answer in 0.3 seconds.*timeout_seconds"):
            model(one.url, tmp_path, timeout_seconds=0.3, retries=1).generate([ask()], Sampling())
        assert time.monotonic() - began < 5


def test_nobody_there_is_told_with_the_address(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match=r"cannot be reached at http://127.0.0.1:9/v1"):
        model("http://127.0.0.1:9/v1", tmp_path, retries=1).generate([ask()], Sampling())


def test_a_redirect_is_not_followed_and_the_key_stays(tmp_path: Path) -> None:
    with endpoint(well) as elsewhere:
        there = f"{elsewhere.url}/chat/completions"
        with (
            endpoint(in_turn(Say(307, b"", {"Location": there}))) as one,
            pytest.raises(RemoteError, match=r"on to '127.0.0.1' \(status 307\), which is not"),
        ):
            model(one.url, tmp_path, api_key_env="FAR_KEY").generate([ask()], Sampling())
        assert elsewhere.got == []


def everything(folder: Path) -> bytes:
    """All bytes of all files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return b"".join(path.read_bytes() for path in files)


def leaking(got: Got) -> Say:
    """An endpoint that repeats the header in its answer."""
    return Say(body=completion(f"you said {got.headers['Authorization']}!", model=f"m {KEY}"))


def test_a_key_that_the_endpoint_repeats_is_neither_answered_nor_kept(tmp_path: Path) -> None:
    with endpoint(leaking) as one:
        [answer] = model(one.url, tmp_path, api_key_env="FAR_KEY").generate([ask()], Sampling())
    assert answer.text == "you said Bearer [key]!"
    assert KEY.encode() not in everything(tmp_path)


def test_a_key_is_taken_out_of_an_error_and_its_sentence_stays(tmp_path: Path) -> None:
    words = {"error": {"message": f"wrong: (Bearer {KEY}), try '{KEY}'"}}
    with endpoint(in_turn(Say(500, words))) as one, pytest.raises(RemoteError) as failure:
        model(one.url, tmp_path, retries=0, api_key_env="FAR_KEY").generate([ask()], Sampling())
    assert "(status 500: wrong: (Bearer [key]), try '[key]'). Run again" in str(failure.value)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_no_error_tells_the_key_or_a_part_of_it(status: int, tmp_path: Path) -> None:
    words = {"error": {"message": f"bad key {KEY[:12]}*** (or '{KEY}') in your header"}}
    with endpoint(in_turn(Say(status, words))) as one, pytest.raises(RemoteError) as failure:
        model(one.url, tmp_path, retries=0, api_key_env="FAR_KEY").generate([ask()], Sampling())
    said = f"{failure.value!r} {failure.value.__cause__!r} {failure.value.__context__!r}"
    assert not any(KEY[i : i + 6] in str(failure.value) for i in range(len(KEY) - 5))
    assert KEY not in said
    far = model(one.url, tmp_path, api_key_env="FAR_KEY")
    assert KEY not in f"{vars(far)} {far.card} {far._exchange.key!r}"


def test_a_stand_in_for_a_key_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", "EMPTY")
    with endpoint(in_turn(Say(body=completion("EMPTY, it says")))) as one:
        [answer] = model(one.url, tmp_path, api_key_env="FAR_KEY").generate([ask()], Sampling())
    assert answer.text == "EMPTY, it says"


@pytest.mark.parametrize("value", ["", "  ", "a b", "schlüssel", "line\nline"])
def test_a_key_that_is_none_is_told_without_showing_it(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_KEY", value)
    with endpoint(well) as one:
        far = model(one.url, tmp_path, api_key_env="FAR_KEY")
        with pytest.raises(RemoteError, match="environment variable FAR_KEY") as failure:
            far.generate([ask()], Sampling())
    assert one.got == []
    assert not value.strip() or value not in str(failure.value)


# A question of 6 letters may have 6 + 16 + 16 tokens: with 10 new ones at most 0.058.
ROOM = Sampling(max_new_tokens=10)


def test_the_budget_stops_before_the_request_that_could_exceed_it(tmp_path: Path) -> None:
    with endpoint(well) as one:
        far = model(one.url, tmp_path, budget=0.4, concurrency=1, **PRICES)
        heard = Heard()
        with (
            shown_by(heard),
            pytest.raises(BudgetError, match=r"up to 0.058, and 0.36 of the budget of 0.4 is sp"),
        ):
            far.generate([ask(f"Price{i}") for i in range(9)], ROOM)
        assert len(one.got) == 3
        assert heard.lines == [
            "remote model 'far': 3 of these 9 requests were answered before that "
            "failed; the answers are kept, and not paid again"
        ]
        assert paid(far.card) == pytest.approx(3 * 0.12)
        # what was paid is kept, and counted by the next process; a higher budget goes on
        again = model(one.url, tmp_path, budget=0.4, **PRICES)
        assert len(again.generate([ask(f"Price{i}") for i in range(3)], ROOM)) == 3
        with pytest.raises(BudgetError):
            again.generate([ask("Price7")], ROOM)
        assert len(one.got) == 3
        more = model(one.url, tmp_path, budget=0.8, concurrency=1, **PRICES)
        with pytest.raises(BudgetError):
            more.generate([ask(f"Price{i}") for i in range(9)], ROOM)
        assert len(one.got) == 7
        assert paid(far.card) == pytest.approx(7 * 0.12)


def test_parameters_that_are_read_as_a_prompt_count_against_the_budget(tmp_path: Path) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x" * 300, "schema": {}}}
    with endpoint(well) as one:
        far = model(one.url, tmp_path, budget=0.3, parameters={"response_format": form}, **PRICES)
        with pytest.raises(BudgetError):
            far.generate([ask("Price1")], ROOM)
        assert one.got == []


def test_money_set_aside_for_others_is_waited_for(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 10}
    with endpoint(in_turn(Say(body=completion(usage=usage), seconds=0.05))) as one:
        far = model(one.url, tmp_path, budget=0.3, concurrency=8, **PRICES)
        with pytest.raises(BudgetError, match=r"0\.25 of the budget"):
            far.generate([ask(f"Price{i}") for i in range(20)], ROOM)
    assert len(one.got) == 5  # as many as one after the other


def test_many_at_once_do_not_exceed_the_budget_together(tmp_path: Path) -> None:
    def cheap(_: Got) -> Say:
        usage = {"prompt_tokens": 30, "completion_tokens": 10}
        return Say(body=completion(usage=usage), seconds=0.05)

    with endpoint(cheap) as one:
        models = [model(one.url, tmp_path, budget=0.5, concurrency=8, **PRICES) for _ in range(3)]

        def spend(number: int) -> None:
            with pytest.raises(BudgetError):
                models[number].generate([ask(f"P{number}{i:04}") for i in range(20)], ROOM)

        threads = [threading.Thread(target=spend, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 0.058 < paid(models[0].card) <= 0.5
    assert paid(models[0].card) == pytest.approx(0.05 * len(one.got))


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        (Say(500, {}), 0.0),
        (Say(400, {}), 0.0),
        (Say(504, {}), 0.058),  # what is behind it may have answered
        (Say(502, {}), 0.058),
        (Say(524, {}), 0.058),
        (Say(200, b"{"), 0.058),  # it answered, so it may have charged
        (Say(body=completion(), seconds=9.0), 0.058),
    ],
)
def test_what_may_have_been_paid_counts_and_what_was_refused_does_not(
    said: Say, counted: float, tmp_path: Path
) -> None:
    with endpoint(in_turn(said)) as one:
        settings: dict[str, Any] = {"retries": 0, "timeout_seconds": 0.3, **PRICES}
        far = model(one.url, tmp_path, **settings)
        with pytest.raises(RemoteError):
            far.generate([ask("Price1")], ROOM)
    assert paid(far.card) == pytest.approx(counted)


def test_a_process_that_is_killed_leaves_its_money_counted(tmp_path: Path) -> None:
    with endpoint(in_turn(Say(body=completion(), seconds=20.0))) as one:
        code = (
            "import sys; from tests.models.test_remote import *; "
            "model(sys.argv[1], Path(sys.argv[2]), timeout_seconds=60, **PRICES)"
            ".generate([ask('Price1')], ROOM)"
        )
        running = subprocess.Popen([sys.executable, "-c", code, one.url, str(tmp_path)])
        while not one.got:
            assert running.poll() is None
            time.sleep(0.02)
        running.kill()
        running.wait()
        assert paid(model(one.url, tmp_path, **PRICES).card) == pytest.approx(0.058)


def test_usage_that_nobody_tells_is_estimated_and_paid_at_its_most(tmp_path: Path) -> None:
    with endpoint(in_turn(Say(body=completion("one two", usage=None)))) as one:
        far = model(one.url, tmp_path, **PRICES)
        [answer] = far.generate([ask("Price1")], ROOM)
    assert (answer.prompt_tokens, answer.new_tokens) == (8 + 8 + 2, 3)
    assert paid(far.card) == pytest.approx(0.058)


@pytest.mark.parametrize(
    "limit", [{"requests_per_minute": 600}, {"tokens_per_minute": 60 * 10 * (8 + 8 + 2 + 10)}]
)
def test_limits_pace_requests_of_all_threads(limit: dict[str, float], tmp_path: Path) -> None:
    times: list[float] = []

    def timed(_: Got) -> Say:
        times.append(time.monotonic())
        return Say(body=completion())

    with endpoint(timed) as one:
        far = model(one.url, tmp_path, concurrency=4, **limit)
        began = time.monotonic()
        far.generate([ask(f"Price{i}") for i in range(6)], ROOM)
    assert len(one.got) == 6
    assert times[-1] - began > 5 * 0.1 - 0.01


def events(*chunks: Any) -> bytes:
    lines = [c if isinstance(c, bytes) else f"data: {json.dumps(c)}\n\n".encode() for c in chunks]
    return b": hello\n\n" + b"".join(lines) + b"data: [DONE]\n\n"


def chunk(text: str | None = None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


USED = {"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}


def test_a_stream_comes_in_pieces_and_is_kept_and_paid(tmp_path: Path) -> None:
    body = events(chunk("four "), chunk("wee"), chunk("ks"), chunk(None, "stop"), USED)
    with endpoint(in_turn(Say(500, {}), Say(body=body))) as one:
        far = model(one.url, tmp_path, **PRICES)
        *pieces, whole = far.stream(ask(), Sampling())
        assert pieces == ["four ", "wee", "ks"]
        assert isinstance(whole, Completion)
        assert (whole.text, whole.prompt_tokens, whole.new_tokens) == ("four weeks", 100, 10)
        assert one.got[1].body["stream_options"] == {"include_usage": True}
        assert paid(far.card) == pytest.approx(0.12)
        assert far.generate([ask()], Sampling()) == [whole]
        assert list(far.stream(ask(), Sampling())) == ["four weeks", whole]
    assert len(one.got) == 2


def test_a_key_in_pieces_of_a_stream_is_hidden(tmp_path: Path) -> None:
    body = events(chunk("key: " + KEY[:7]), chunk(KEY[7:] + " s"), chunk("k-"), chunk("", "stop"))
    with endpoint(in_turn(Say(body=body))) as one:
        far = model(one.url, tmp_path, api_key_env="FAR_KEY")
        *pieces, whole = far.stream(ask(), Sampling())
    assert "".join(map(str, pieces)) == "key: [key] sk-"
    assert isinstance(whole, Completion)
    assert whole.text == "key: [key] sk-"


@pytest.mark.parametrize(
    "body",
    [
        events(chunk("four "), {"error": {"message": "overloaded"}}),
        events(chunk("four ")),
        events(chunk("four "), b"data: {\n\n"),
    ],
)
def test_a_stream_that_breaks_off_is_an_error_and_nothing_is_kept(
    body: bytes, tmp_path: Path
) -> None:
    with endpoint(in_turn(Say(body=body))) as one:
        far = model(one.url, tmp_path)
        with pytest.raises(RemoteError, match=r"broke off|no JSON"):
            list(far.stream(ask(), Sampling()))
        assert len(one.got) == 1
        with pytest.raises(RemoteError):
            list(far.stream(ask(), Sampling()))
        assert len(one.got) == 2


def test_one_failure_keeps_what_the_others_paid_for(tmp_path: Path) -> None:
    def some(got: Got) -> Say:
        fails = got.body["messages"][0]["content"] == "q5"
        return Say(400, {"error": "no"}) if fails else Say(body=completion(), seconds=0.05)

    questions = [ask(f"q{i}") for i in range(6)]
    with endpoint(some) as one:
        far = model(one.url, tmp_path, concurrency=6)
        with pytest.raises(RemoteError):
            far.generate(questions, Sampling())
        assert len(one.got) == 6
        far.generate(questions[:5], Sampling())
        assert len(one.got) == 6


def test_after_a_failure_nothing_more_is_sent_however_late_it_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*given: Any, **named: Any) -> Any:
        time.sleep(0.3)
        return futures.wait(*given, **named)

    monkeypatch.setattr(remote, "wait", late)
    with endpoint(lambda _: Say(400, {"error": "no"})) as one:
        far = model(one.url, tmp_path, concurrency=1)
        with pytest.raises(RemoteError, match="400"):
            far.generate([ask(f"q{i}") for i in range(6)], Sampling())
        assert len(one.got) == 1


def test_without_its_library_the_extra_is_named_and_nothing_is_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = model("http://localhost:1", tmp_path, **PRICES)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingExtraError, match=r'pip install "sartor\[remote\]"'):
        far.generate([ask()], Sampling())
    assert paid(far.card) == 0


def test_a_broken_file_of_answers_is_named_with_what_to_do(tmp_path: Path) -> None:
    with endpoint(well) as one:
        far = model(one.url, tmp_path)
        path = Path(far.card.path) / "answers.sqlite"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"not a database" * 100)
        with pytest.raises(DataError, match=r"answers\.sqlite.*if the file is broken delete it"):
            far.generate([ask()], Sampling())


def test_weights_of_a_remote_model_are_refused(tmp_path: Path) -> None:
    from sartor.models import local

    card = model("http://127.0.0.1:9/v1", tmp_path).card
    with pytest.raises(ModelError, match="is a remote model: its weights and tokenizer are not"):
        local.load_tokenizer(card)


@pytest.mark.parametrize(
    ("url", "key", "told"),
    [
        ("http://api.example.com/v1", "FAR_KEY", True),
        ("http://api.example.com/v1", "", False),
        ("https://api.example.com/v1", "FAR_KEY", False),
        ("http://localhost:8000/v1", "FAR_KEY", False),
        ("http://[::1]:8000/v1", "FAR_KEY", False),
    ],
)
def test_a_key_that_crosses_a_network_unencrypted_is_told(
    url: str, key: str, told: bool, tmp_path: Path
) -> None:
    assert is_open_to_others(model(url, tmp_path, api_key_env=key).card) == told
