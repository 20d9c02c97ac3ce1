"""Plain text, as it is; the title is a first line that stands alone and looks like one."""

from __future__ import annotations

from sartor.data.catalogue import Parsed
from sartor.data.cleaning import clean, flat

_LONGEST_TITLE = 120  # characters


def plain_text(text: str) -> Parsed:
    """One document."""
    text = clean(text)
    return Parsed(text, _title(text))


def _title(text: str) -> str:
    first, _, rest = text.partition("\n")
    below = rest.partition("\n")[0].strip()
    stands_alone = not below or set(below) <= set("=-~#*")
    is_short = len(first) <= _LONGEST_TITLE and not first.rstrip().endswith((".", ",", ";", ":"))
    return flat(first.strip("#*= ")) if rest and stands_alone and is_short else ""
