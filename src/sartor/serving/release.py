"""Releases: what is served, numbered, and back again in one step.

    releases/
      current            the number of the release that is served
      1/release.json     written last: its presence means that the release is whole
      2/release.json

A release is a record; weights and indexes stay where its customization left them. Loading and
serving them is for others. Every other candidate of a run is kept as such a record too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sartor.data.files import from_json, read_json, write_json, write_text
from sartor.errors import ServingError
from sartor.techniques.technique import Customization


@dataclass(frozen=True, slots=True)
class Release:
    """A winner as it is served: which candidate, how it was made, and why it was chosen."""

    version: int
    candidate: str
    settings: dict[str, Any]
    """The technique's settings, as its registry builds it from."""
    customization: Customization
    decision: str
    """Digest of the decision that named it."""
    created: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Releases:
    """The releases of a project, in their folder (`.sartor/releases`)."""

    folder: Path

    def make(
        self,
        candidate: str,
        settings: Mapping[str, Any],
        customization: Customization,
        decision: str,
    ) -> Release:
        """The next release, made current; the current one if it already is this customization."""
        current = self._find_whole()
        if current and _same(current, candidate, settings, customization):
            return current
        release = Release(
            version=self._claim(),
            candidate=candidate,
            settings=dict(settings),
            customization=customization,
            decision=decision,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_json(self._manifest(release.version), release)
        self._point_at(release.version)
        return release

    def find_current(self) -> Release | None:
        """The release that is served; None before the first."""
        pointer = self.folder / "current"
        if not pointer.exists():
            return None
        try:
            version = int(pointer.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise ServingError(
                f"{pointer} does not hold a release's number (there are: {self._listed()}). "
                "Run `sartor run`: it makes the winner a release again."
            ) from error
        return self.get(version)

    def _find_whole(self) -> Release | None:
        """The release that is served, unless it is missing or broken."""
        try:
            return self.find_current()
        except (ServingError, OSError):
            return None

    def current(self) -> Release:
        """The release that is served; ServingError before the first."""
        release = self.find_current()
        if release is None:
            raise ServingError(
                f"nothing to serve: {self.folder} holds no release. "
                "Run `sartor run` first; it makes one when its decision names a winner."
            )
        return release

    def all(self) -> tuple[Release, ...]:
        """Every release, oldest first."""
        return tuple(self.get(version) for version in self._versions())

    def get(self, version: int) -> Release:
        """The release of that number."""
        manifest = self._manifest(version)
        if not manifest.exists():
            raise ServingError(
                f"there is no release {version}; there are: {self._listed()}. "
                "Run `sartor run`: it makes the winner a release again."
            )
        try:
            return from_json(Release, manifest.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError, OSError) as error:
            raise ServingError(
                f"{manifest} is not a release that sartor wrote: it was changed by hand or is "
                "broken. Run `sartor run`: it makes the winner a release again."
            ) from error

    def activate(self, version: int) -> Release:
        """Serve that release from now on, older or newer: how a release is rolled back."""
        release = self.get(version)
        self._point_at(version)
        return release

    def _claim(self) -> int:
        """A number no release has or had; two processes never get the same one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        version = max(self._numbered(), default=0) + 1
        while True:
            try:
                (self.folder / str(version)).mkdir()
            except FileExistsError:
                version += 1
            else:
                return version

    def _numbered(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        names = (path.name for path in self.folder.iterdir() if path.is_dir())
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())

    def _versions(self) -> list[int]:
        return [version for version in self._numbered() if self._manifest(version).is_file()]

    def _listed(self) -> str:
        return ", ".join(map(str, self._versions())) or "none"

    def _manifest(self, version: int) -> Path:
        return self.folder / str(version) / "release.json"

    def _point_at(self, version: int) -> None:
        write_text(self.folder / "current", f"{version}\n")


def find_candidate(folder: Path, name: str) -> Release:
    """The candidate of that name, of those that runs left in `folder`; ServingError for others."""
    there = {path.stem: path for path in sorted(folder.glob("*.json"))}
    if name not in there:
        raise ServingError(
            f"there is no candidate {name!r} that was run; there are: "
            f"{', '.join(there) or 'none. Run `sartor run` first'}."
        )
    return read_json(there[name], Release)


def _same(
    release: Release, candidate: str, settings: Mapping[str, Any], customization: Customization
) -> bool:
    """Whether it would serve the same answers; how long fitting took, say, makes no difference."""
    theirs, ours = release.customization, customization
    return (
        (release.candidate, release.settings) == (candidate, dict(settings))
        and (theirs.technique, theirs.base) == (ours.technique, ours.base)
        and (theirs.digest, theirs.directory) == (ours.digest, ours.directory)
    )
