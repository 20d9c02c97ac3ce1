"""Markdown: the text a reader of the rendered page sees, its headings, lists and tables kept.

Front matter is read for the title and removed; Hugo and Liquid shortcodes, HTML tags and link
targets go. Code keeps every character.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from sartor.data.catalogue import Parsed
from sartor.data.cleaning import clean, flat
from sartor.data.code_spans import code_spans
from sartor.data.enclosed import Enclosed

_FRONT_MATTER = re.compile(
    r"\A\s*(---|\+\+\+)[ \t]*\n((?:\s*[\w-]+\s*[:=]|#).*?\n)??\1[ \t]*(?:\n|\Z)", re.DOTALL
)
_TITLE = re.compile(r"^(?:title|Title)\s*[:=]\s*(.+)$", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}[ \t]+(\S.*)$|^(\S.*)\n(?:=+|-+)[ \t]*$", re.MULTILINE)
_TOP_HEADING = re.compile(r"^#[ \t]+(\S.*)$|^(\S.*)\n=+[ \t]*$", re.MULTILINE)
_MARK = "\ue0ff"  # for private use: stands in no real text
_MARKED = re.compile(rf"{_MARK}(\d{{1,9}}){_MARK}")
_NUMBERED = re.compile(r"&#(\d{8,})(;?)")  # Python refuses to read thousands of digits
_HTML_BLOCK = re.compile(r"<(?:div|section|article|table|button)\b", re.IGNORECASE)
_INDENT = re.compile(r"^[ \t]+(?![ \t]|[-*+] |\d+\. )", re.MULTILINE)
_TAGS = "|".join(
    """
    a abbr address article aside b blockquote br button caption center cite code col colgroup
    dd del details dfn div dl dt em embed fieldset figcaption figure font footer form h1 h2 h3
    h4 h5 h6 header hr i iframe img input ins kbd label legend li link main mark meta nav
    object ol option p param picture pre q s samp section select small source span strike
    strong sub summary sup svg table tbody td textarea tfoot th thead time tr tt u ul use var
    video wbr path
    """.split()  # noqa: SIM905 - words read better than quotes and commas
)

_Step = Callable[[str], str]


def _every(pattern: str, replacement: str) -> _Step:
    """A step that replaces what matches. No pattern may look past the next mark of its own kind:
    each would look to the end of the text, and time would grow with the square of it.
    """
    compiled = re.compile(pattern, re.DOTALL | re.MULTILINE | re.IGNORECASE)
    return lambda text: compiled.sub(replacement, text)


_STEPS: tuple[_Step, ...] = (
    Enclosed(r"<!--", r"-->").replaced,
    Enclosed(r"<(script|style|svg|iframe)\b[^<>]*>", r"</\1\s*>").replaced,
    Enclosed(r"\{\{[<%]", r"[%>]\}\}").replaced,  # Hugo
    Enclosed(r"\{%", r"%\}").replaced,  # Liquid
    Enclosed(r"\{\{", r"\}\}").replaced,
    _every(r"\{:?\s*[.#][^{}\n]*\}", ""),  # kramdown's attributes
    Enclosed(
        r"<h([1-6])\b[^<>]*>",
        r"</h\1\s*>",
        lambda level, inner: f"\n\n{'#' * int(level)} {flat(inner)}\n\n",
    ).replaced,
    _every(r"<li\b[^<>]*>\s*", "\n- "),
    _every(r"</t[dh]\s*>\s*<t[dh]\b[^<>]*>", " | "),
    _every(r"<(?:br|/?tr|/?[uo]l|hr)\b[^<>]*>", "\n"),
    _every(
        r"</?(?:p|div|section|article|table|blockquote|dl|details|figure)\b[^<>]*>",
        "\n\n",
    ),
    _every(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>", ""),
    _every(r"</?[a-z][\w-]*(?:\s+[\w-]+=[\"'][^<>]*)/?>", ""),
    _every(r"^[ \t]*\[[^\]\n]+\]:[ \t]+\S[^\n]*$", ""),  # definitions of links
    _every(r"!?\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?:[^()\n]|\([^()\n]*\))*\)", r"\1"),
    _every(r"!?\[([^\[\]\n]+)\]\[[^\[\]\n]*\]", r"\1"),
    Enclosed(r"(\*\*|__)(?=\S)", r"(?<=\S)\1", lambda _, inner: inner, shortest=1).replaced,
    _every(r"\\([\\`*_{}\[\]()#+.!|<>~-])", r"\1"),
    _every(r"^[ \t]{1,3}(?=\S)(?![-*+] |\d+\. )", ""),
)


def markdown(text: str) -> Parsed:
    """One document; the title is the front matter's, else that of the first heading."""
    matter = _FRONT_MATTER.match(text)
    title = _front_title(matter[2] or "") if matter else ""
    body = clean(_outside_code(text[matter.end() :] if matter else text))
    return Parsed(body, title or _first_heading(body))


def _front_title(matter: str) -> str:
    found = _TITLE.search(matter)
    if not found or found[1].strip() in (">", "|", ">-", "|-"):
        return ""
    return flat(_unescaped(found[1].strip().strip("\"'")))


def _first_heading(body: str) -> str:
    """The heading the text begins with, or its first of level one."""
    found = _HEADING.match(body) or _TOP_HEADING.search(body)
    if not found:
        return ""
    return flat(found[1].rstrip("#") if found[1] else found[2])[:200]


def _outside_code(text: str) -> str:
    """Made plainer everywhere but in code, which waits behind numbered marks meanwhile."""
    text = text.replace(_MARK, "")
    code: list[str] = []
    parts: list[str] = []
    done = 0
    for start, end in code_spans(text):
        parts += [text[done:start], f"{_MARK}{len(code)}{_MARK}"]
        code.append(text[start:end])
        done = end
    plainer = _plainer("".join([*parts, text[done:]]))

    def put_back(mark: re.Match[str]) -> str:
        number = int(mark[1])
        return code[number] if number < len(code) else ""  # "&#xe0ff;" writes a mark too

    return _MARKED.sub(put_back, plainer)


def _plainer(text: str) -> str:
    if _HTML_BLOCK.search(text):
        text = _INDENT.sub("", text)
    for step in _STEPS:
        text = step(text)
    return _unescaped(text)


def _unescaped(text: str) -> str:
    return html.unescape(_NUMBERED.sub(_shorter, text))


def _shorter(reference: re.Match[str]) -> str:
    digits = reference[1].lstrip("0") or "0"
    return f"&#{digits}{reference[2]}" if len(digits) < 8 else "\ufffd"
