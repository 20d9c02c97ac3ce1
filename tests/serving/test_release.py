"""Releases: numbered, reused, rolled back, and what is said when they are broken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sartor.data.files import write_json
from sartor.errors import ServingError
from sartor.models.language_model import ModelCard
from sartor.serving.release import Release, Releases, find_candidate
from sartor.techniques.technique import Customization

BASE = ModelCard("thimble", "/models/thimble", "abc", "llama", 12_000_000, 2048)
LORA = Customization("lora", BASE, "customizations/lora", "d1g3st", 40_000, 12.5, 2**30)
SETTINGS = {"technique": "rag", "inner": {"technique": "lora", "rank": 8}}


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path / ".sartor" / "releases")


def make(releases: Releases, digest: str) -> Release:
    return releases.make("rag+lora", SETTINGS, replace(LORA, digest=digest), "decided")


def test_a_release_is_read_back_as_it_was_made(releases: Releases) -> None:
    made = releases.make("rag+lora", SETTINGS, LORA, "decided")
    assert releases.current() == made
    assert (made.version, made.settings, made.customization) == (1, SETTINGS, LORA)


def test_each_new_customization_gets_the_next_number_and_is_served(releases: Releases) -> None:
    versions = [make(releases, digest).version for digest in "abc"]
    assert versions == [1, 2, 3]
    assert [release.version for release in releases.all()] == [1, 2, 3]
    assert releases.current().version == 3


def test_the_customization_that_is_served_already_is_not_released_again(releases: Releases) -> None:
    first = releases.make("lora", {}, LORA, "decided")
    again = releases.make("lora", {}, replace(LORA, seconds=99.0), "decided anew")
    assert again == first
    assert len(releases.all()) == 1


def test_other_settings_are_another_release(releases: Releases) -> None:
    releases.make("lora", {"top_k": 3}, LORA, "decided")
    assert releases.make("lora", {"top_k": 4}, LORA, "decided").version == 2


def test_rolling_back_serves_the_older_release_and_keeps_the_newer(releases: Releases) -> None:
    make(releases, "a"), make(releases, "b")
    assert releases.activate(1) == releases.current()
    assert releases.current().customization.digest == "a"
    assert make(releases, "c").version == 3


def test_a_release_that_was_killed_half_way_is_no_release(releases: Releases) -> None:
    make(releases, "a")
    (releases.folder / "2").mkdir()
    assert [release.version for release in releases.all()] == [1]
    assert make(releases, "b").version == 3


def test_before_the_first_release_it_says_what_to_run(releases: Releases) -> None:
    assert releases.find_current() is None
    assert releases.all() == ()
    with pytest.raises(ServingError, match=r"holds no release.*sartor run"):
        releases.current()


def test_an_unknown_version_is_named_with_those_there_are(releases: Releases) -> None:
    make(releases, "a"), make(releases, "b")
    with pytest.raises(ServingError, match="no release 7; there are: 1, 2"):
        releases.activate(7)
    assert releases.current().version == 2


def test_a_broken_release_is_named_by_file(releases: Releases) -> None:
    make(releases, "a")
    (releases.folder / "1" / "release.json").write_text("{")
    with pytest.raises(ServingError, match=r"1/release\.json is not a release"):
        releases.current()


def test_a_broken_pointer_is_named_by_file(releases: Releases) -> None:
    make(releases, "a")
    (releases.folder / "current").write_text("latest")
    with pytest.raises(
        ServingError, match=r"does not hold a release's number.*there are: 1.*sartor run"
    ):
        releases.current()


@pytest.mark.parametrize("pointer", ["latest", "7", "", "9" * 400])
def test_a_broken_pointer_does_not_stop_the_next_release(releases: Releases, pointer: str) -> None:
    make(releases, "a")
    (releases.folder / "current").write_text(pointer)
    assert make(releases, "a").version == 2
    assert releases.current().version == 2


def test_a_folder_in_a_releases_place_is_told_and_passed_over(releases: Releases) -> None:
    (releases.folder / "1" / "release.json").mkdir(parents=True)
    (releases.folder / "current").write_text("1")
    with pytest.raises(ServingError, match=r"1/release\.json is not a release.*sartor run"):
        releases.current()
    assert releases.all() == ()
    assert make(releases, "a").version == 2


def test_a_candidate_is_found_by_its_name_and_not_by_a_path(releases: Releases) -> None:
    folder = releases.folder.parent / "candidates"
    with pytest.raises(ServingError, match=r"there are: none\. Run `sartor run` first"):
        find_candidate(folder, "lora")
    kept = Release(0, "v1.5", {}, LORA, "decided", "2026-01-01")
    write_json(folder / "v1.5.json", kept)
    write_json(folder.parent / "else.json", kept)
    assert find_candidate(folder, "v1.5") == kept
    for other in ("../else", "../../x", "a" * 300, ""):
        with pytest.raises(ServingError, match=r"there are: v1\.5\."):
            find_candidate(folder, other)
