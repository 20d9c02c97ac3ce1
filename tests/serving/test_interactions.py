"""The log of interactions: read back whole, private, and never in the way."""

from __future__ import annotations

import logging
import sqlite3
import stat
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sartor.data.records import Message
from sartor.errors import ServingError
from sartor.serving.interactions import (
    Interaction,
    InteractionLog,
    find_interaction,
    read_interactions,
)

ASKED = Interaction(
    id="chatcmpl-1",
    at="2026-11-23T10:00:00.000+00:00",
    release=3,
    input=(Message("system", "Be brief."), Message("user", "Wie lang?\u2028Ja?")),
    completion="Four weeks. \N{PARTY POPPER}",
    finish="stop",
    document_ids=("handbook", "faq#7"),
    seconds=0.25,
    prompt_tokens=7,
    new_tokens=2,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".sartor" / "interactions.sqlite"


def test_interactions_are_read_back_as_they_were_written(path: Path) -> None:
    log = InteractionLog(path)
    log.append(ASKED)
    assert list(read_interactions(path)) == [ASKED]
    assert find_interaction(path, "chatcmpl-1") == ASKED
    assert find_interaction(path, "chatcmpl-2") is None
    log.close()


def test_they_are_read_by_time_oldest_first(path: Path) -> None:
    log = InteractionLog(path)
    for hour in (12, 10, 11):
        log.append(replace(ASKED, id=str(hour), at=f"2026-11-23T{hour}:00:00.000+00:00"))
    log.close()
    since = list(read_interactions(path, since="2026-11-23T11"))
    assert [interaction.id for interaction in since] == ["11", "12"]


def test_a_later_server_adds_to_the_same_log(path: Path) -> None:
    for number in range(3):
        log = InteractionLog(path)
        log.append(replace(ASKED, id=str(number)))
        log.close()
    assert len(list(read_interactions(path))) == 3


def test_without_a_log_there_are_no_interactions(path: Path) -> None:
    assert list(read_interactions(path)) == []
    assert not path.exists()


def test_only_the_owner_may_read_what_people_asked(path: Path) -> None:
    log = InteractionLog(path)
    log.append(ASKED)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    log.close()


def test_many_threads_may_write(path: Path) -> None:
    log = InteractionLog(path)
    threads = [
        threading.Thread(target=log.append, args=[replace(ASKED, id=str(number))])
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert len(list(read_interactions(path))) == 20


def test_a_log_that_cannot_be_written_warns_once_and_goes_on_when_it_can(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir(parents=True)  # where the file should be
    log = InteractionLog(path)
    with caplog.at_level(logging.WARNING):
        log.append(ASKED)
        log.append(ASKED)
    [record] = caplog.records
    assert "requests are answered but not logged" in record.getMessage()
    assert str(path) in record.getMessage()

    path.rmdir()
    log.append(ASKED)
    log.close()
    assert list(read_interactions(path)) == [ASKED]


def test_a_full_disk_is_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = InteractionLog(path)
    log.append(ASKED)
    with closing(sqlite3.connect(path)) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    assert log._connection is not None
    log._connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own stand-in for one
    log.append(replace(ASKED, id="2", completion="x" * 100_000))
    assert "full" in caplog.text
    log.close()
    assert list(read_interactions(path)) == [ASKED]


def test_a_file_that_is_no_log_is_named(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database, but long enough to look like one to SQLite" * 10)
    with pytest.raises(ServingError, match=r"interactions\.sqlite is not a log"):
        list(read_interactions(path))
