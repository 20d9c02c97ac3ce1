"""Personal data: how many e-mail addresses, phone, card and account numbers the texts hold.

It finds and counts; nothing is removed. Patterns only, so names and street addresses are not seen.
Cards must pass Luhn's check (ISO/IEC 7812-1), accounts the IBAN's (ISO 13616, modulo 97).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_PHONE = re.compile(
    r"""(?<![\w.,/-])
    (?: \+\d{1,3}[ .-]? (?:\(\d{1,4}\)[ .-]?)? \d{1,4} (?:[ .-]?\d{2,4}){2,4}   # +49 30 1234567
      | (?:1[ .-])? (?:\(\d{3}\)[ ]? | \d{3}[.-]) \d{3}[ .-]\d{4}               # 800-827-1000
      | 0\d{2,4}[ /-]\d{3,4}[ ]?\d{3,4}                                         # 020 7946 0958
    )(?![\w/-])""",
    re.VERBOSE,
)


def count_personal_data(texts: Iterable[str]) -> dict[str, int]:
    """Occurrences by kind; kinds that do not occur are left out."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(_kinds(text))
    return dict(sorted(found.items()))


def _kinds(text: str) -> Iterator[str]:
    yield from ("e-mail address" for _ in _EMAIL.finditer(text))
    cards = [match.span() for match in _CARD.finditer(text) if is_card(match[0])]
    accounts = [match.span() for match in _IBAN.finditer(text) if is_iban(match[0])]
    yield from ("card number" for _ in cards)
    yield from ("IBAN" for _ in accounts)
    other = sorted(cards + accounts)
    starts = [start for start, _ in other]
    ends = list(accumulate((end for _, end in other), max))
    for match in _PHONE.finditer(text):
        before = bisect_right(starts, match.start())
        if not before or ends[before - 1] <= match.start():
            yield "phone number"


def is_card(number: str) -> bool:
    """Whether the digits pass Luhn's check and begin as a payment card's do."""
    digits = [int(character) for character in number if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return digits[0] in (2, 3, 4, 5, 6) and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_iban(account: str) -> bool:
    """Whether it passes the IBAN's check: 1 modulo 97, letters as 10 to 35."""
    compact = account.replace(" ", "")
    return 15 <= len(compact) <= 34 and int(_digits(compact[4:] + compact[:4])) % 97 == 1


def _digits(text: str) -> str:
    return "".join(str(int(character, 36)) for character in text)
