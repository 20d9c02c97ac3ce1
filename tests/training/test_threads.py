"""Work for several threads at once: their order, their failures, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from threading import Event
from typing import Any

import pytest
import torch

from sartor.techniques.estimating.allocated import Allocated
from sartor.training import threads

pytestmark = pytest.mark.usefixtures("two_threads")


def test_each_has_its_own_thread_and_others_keep_theirs() -> None:
    torch.set_num_threads(4)
    found = threads.run(lambda number, _: (number, torch.get_num_threads()), 2)
    assert found == [(0, 2), (1, 2)]
    assert torch.get_num_threads() == 4


def test_an_error_in_one_ends_the_others_and_is_raised_when_they_have_ended() -> None:
    ended = []

    def work(number: int, stop: Event) -> None:
        if number == 1:
            raise ValueError("number 1")
        stop.wait()
        ended.append(number)

    with pytest.raises(ValueError, match="number 1"):
        threads.run(work, 2)
    assert ended == [0]
    assert threads.run(lambda number, _: number, 2) == [0, 1]  # and go on afterwards


def test_one_after_another_where_the_system_has_no_more_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import threading

    started: list[threading.Thread] = []
    begin = threading.Thread.start

    def second_fails(thread: threading.Thread) -> None:
        if len(started) == 1:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        begin(thread)

    threads._pool.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", second_fails)
        here = threading.get_ident()
        assert threads.run(lambda n, _: (n, threading.get_ident()), 2) == [(0, here), (1, here)]
    started[0].join(10)
    assert not started[0].is_alive()
    assert torch.get_num_threads() == 2


def test_what_each_takes_at_most_is_counted_as_there_at_once() -> None:
    def work(_: int, __: Event) -> torch.Tensor:
        return (torch.ones(1000) + 1).sum()

    with Allocated() as alone:
        work(0, Event())
    for _ in range(3):
        with Allocated() as counted:
            threads.run(work, 2)
        assert counted.peak == 2 * alone.peak


CTRL_C = """
    import os, time
    from sartor.training import threads
    def work(number, stop):
        os.write(1, b"begun\\n")
        while not stop.is_set():
            time.sleep(0.01)
        os.write(1, b"ended\\n")
    try:
        threads.run(work, 2)
    except KeyboardInterrupt:
        os.write(1, b"stopped\\n")
"""


def test_ctrl_c_ends_all_of_them() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", textwrap.dedent(CTRL_C)]
    process: Any = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert said == "ended\nended\nstopped\n"
    assert process.returncode == 0
