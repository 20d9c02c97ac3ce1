"""Which language a request is written in, for slices: by script, and for Latin by little words.

Enough to sort requests into piles. Requests of a few words, or in a language not listed, stay
unsorted rather than be guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_SCRIPTS = {
    "CYRILLIC": "Cyrillic", "GREEK": "Greek", "ARABIC": "Arabic", "HEBREW": "Hebrew",
    "DEVANAGARI": "Devanagari", "HANGUL": "Korean", "HIRAGANA": "Japanese", "KATAKANA": "Japanese",
    "CJK": "Chinese", "THAI": "Thai",
}  # fmt: skip
_WORDS = {
    "English": "the and is of to what how does it for are can my you this do which with i "
    "in on at a an as am was be by from or if not when where who why will many much there",
    "German": "der die das und ist von zu was wie für sind kann mein ich nicht ein eine den dem "
    "in im an am auf mit zum zur bei des wer wo wann welche welcher viel viele gibt es wird",
    "French": "le la les et est de du des que quel quelle comment pour sont je mon une un dans",
    "Spanish": "el la los las y es de del que cuál cómo para son mi una un en por puedo",
    "Italian": "il lo la gli e è di del che quale come per sono mio una un in posso",
    "Portuguese": "o a os as e é de do da que qual como para são meu uma um em posso não",
    "Dutch": "de het een en is van te wat hoe voor zijn kan mijn ik niet dit welke met in op",
}
_KNOWN = {name: frozenset(words.split()) for name, words in _WORDS.items()}
_FEWEST = 2
"""Little words that must be met."""


def language_of(text: str) -> str:
    """Its name; empty where it cannot be told."""
    scripts = Counter(
        unicodedata.name(letter, "?").split(maxsplit=1)[0] for letter in text if letter.isalpha()
    )
    if not scripts:
        return ""
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > 0.1 * scripts.total():
        return "Japanese"  # whose texts are mostly Chinese characters
    script = max(scripts, key=lambda name: scripts[name])
    return _latin(text) if script == "LATIN" else _SCRIPTS.get(script, "")


def _latin(text: str) -> str:
    words = re.findall(r"[^\W\d_]+", text.lower())
    met = {name: sum(word in known for word in words) for name, known in _KNOWN.items()}
    (first, most), (_, next_most), *_ = sorted(met.items(), key=lambda entry: -entry[1])
    return first if most >= _FEWEST and most > next_most else ""
