"""Numbers as people read them: few digits, a unit, a real minus sign.

Scores run from 0 to 1 in files and from 0 to 100 on the page. What was not measured is a dash.
"""

from __future__ import annotations

import math

from sartor.data.cleaning import harmless

NOTHING = "\u2014"
SIGNS = {"USD": "$", "EUR": "\u20ac", "GBP": "\u00a3", "JPY": "\u00a5", "INR": "\u20b9"}
MINUS = "\u2212"
SPACE = "\u00a0"
"""Keeps a number and its unit on one line."""

_TIMES = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def score(value: float | None) -> str:
    """A score of 0 to 1, out of 100: `71.3`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value * 100:.1f}".replace("-", MINUS)


def difference(value: float | None) -> str:
    """A difference of scores in points of 100, signed: `+1.2`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value * 100:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def points(value: float) -> str:
    """A width in points of 100, unsigned, without needless digits: `3`, `2.5`."""
    return f"{value * 100:.1f}".removesuffix(".0")


def significant(value: float, digits: int = 3, zeros: bool = False) -> str:
    """`value` to so many digits, never in powers of ten; `zeros` keeps those at its end."""
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    text = f"{rounded:,.{max(places, 0)}f}".replace("-", MINUS)
    return text.rstrip("0").rstrip(".") if "." in text and not zeros else text


def money(value: float | None, currency: str) -> str:
    """An amount, short, as an axis wants it: `$0.1`, `$2.50`, `$1,200`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    sign = MINUS if value < 0 else ""
    size = abs(value)
    amount = f"{size:.2f}" if 1 <= size < 100 else significant(size)
    return f"{sign}{_before_amount(currency)}{amount}"


def _before_amount(currency: str) -> str:
    """The sign of a currency where it has a common one, else its code and a space that stays."""
    sign = SIGNS.get(currency.upper(), currency)
    return f"{sign}\u00a0" if sign[-1:].isalpha() else sign


def cost_per_thousand(cost_per_answer: float | None, currency: str) -> str:
    """What 1,000 answers cost; two digits below 1, so that a column's numbers are alike."""
    cost = math.nan if cost_per_answer is None else cost_per_answer * 1000
    if 0 < cost < 1:
        return _before_amount(currency) + significant(cost, 2, zeros=True)
    return money(cost, currency)


def seconds(value: float | None) -> str:
    """How long an answer takes: `0.042 s`, `1.3 s`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{significant(value, 2 if value < 10 else 3, zeros=True)}{SPACE}s"


def duration(value: float | None) -> str:
    """How long training took, in its two largest units: `3 min 20 s`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "none"
    if value < 10:
        return seconds(value)
    left = round(value)
    parts: list[tuple[int, str]] = []
    for unit, size in _TIMES:
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return SPACE.join(f"{count}{SPACE}{unit}" for count, unit in parts[:2] if count)


def memory(count: int | None) -> str:
    """Bytes as MiB, and GiB from 10 GiB on."""
    if not count:
        return NOTHING
    mebibytes = count / 2**20
    if mebibytes < 10 * 1024:
        return f"{significant(mebibytes, 3 if mebibytes < 1000 else 4)}{SPACE}MiB"
    return f"{significant(mebibytes / 1024)}{SPACE}GiB"


def parameters(count: int | None) -> str:
    """Trainable parameters: `0`, `12,300`, `2.1 M`, `1.54 B`."""
    if count is None:
        return NOTHING
    if count < 100_000:
        return f"{count:,}"
    if count < 1_000_000_000:
        return f"{significant(count / 1e6)}{SPACE}M"
    return f"{significant(count / 1e9)}{SPACE}B"


def whole(count: int, noun: str) -> str:
    """A count and its noun: `1 example`, `1,200 examples`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def times(ratio: float) -> str:
    """How many times more: `1.4 times`, `12 times`."""
    return f"{significant(ratio, 2)} times"


def shortened(text: str, length: int) -> str:
    """At most `length` characters, the last an ellipsis where something was cut."""
    text = harmless(" ".join(text.split()))
    return text if len(text) <= length else text[: length - 1].rstrip() + "\u2026"
