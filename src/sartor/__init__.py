"""sartor customizes a language model on evidence: prompt, retrieve or train?

    import sartor

    decision = sartor.Project.open("support").run()

The public names, loaded when first used: importing sartor costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # of `typing`, whose import takes as long as all else here together
if TYPE_CHECKING:
    from typing import Any

    from sartor.errors import SartorError
    from sartor.journey import Project

    __version__: str

__all__ = ["Project", "SartorError", "__version__"]

_HOMES = {"Project": "sartor.journey", "SartorError": "sartor.errors"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sartor")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sartor' has no attribute {name!r}")
