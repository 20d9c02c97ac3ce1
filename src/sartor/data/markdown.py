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

_FRONT_MATTER = re.compile(
    r"\A\s*(---|\+\+\+)[ \t]*\n((?:\s*[\w-]+\s*[:=]|#).*?\n)??\1[ \t]*(?:\n|\Z)", re.DOTALL
)
_TITLE = re.compile(r"^(?:title|Title)\s*[:=]\s*(.+)$", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$|^(\S.*)\n(?:=+|-+)[ \t]*$", re.MULTILINE)
_TOP_HEADING = re.compile(r"^#[ \t]+(.+?)[ \t]*#*$|^(\S.*)\n=+[ \t]*$", re.MULTILINE)
_CODE = re.compile(
    r"^(```+|~~~+)[^\n]*\n.*?^\1[^\n]*$|(?<!`)(`+)(?!`).+?(?<!`)\2(?!`)", re.DOTALL | re.MULTILINE
)
_MARK = "\ue0ff"  # for private use: stands in no real text
_MARKED = re.compile(rf"{_MARK}(\d+){_MARK}")
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

_Replacement = str | Callable[[re.Match[str]], str]
_STEPS: tuple[tuple[re.Pattern[str], _Replacement], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.MULTILINE | re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"<!--.*?-->", ""),
        (r"<(script|style|svg|iframe)\b[^>]*>.*?</\1\s*>", ""),
        (r"\{\{[<%].*?[%>]\}\}", ""),  # Hugo
        (r"\{%.*?%\}", ""),  # Liquid
        (r"\{\{.*?\}\}", ""),
        (r"\{:?\s*[.#][^}\n]*\}", ""),  # kramdown's attributes
        (
            r"<h([1-6])\b[^>]*>\s*(.*?)\s*</h\1\s*>",
            lambda m: f"\n\n{'#' * int(m[1])} {flat(m[2])}\n\n",
        ),
        (r"<li\b[^>]*>\s*", "\n- "),
        (r"</t[dh]\s*>\s*<t[dh]\b[^>]*>", " | "),
        (r"<(?:br|/?tr|/?[uo]l|hr)\b[^>]*>", "\n"),
        (r"</?(?:p|div|section|article|table|blockquote|dl|details|figure)\b[^>]*>", "\n\n"),
        (rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>", ""),
        (r"</?[a-z][\w-]*(?:\s+[\w-]+=[\"'][^<>]*)/?>", ""),
        (r"^[ \t]*\[[^\]\n]+\]:[ \t]+\S+.*$", ""),  # definitions of links
        (r"!?\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?:[^()\n]|\([^()\n]*\))*\)", r"\1"),
        (r"!?\[([^\[\]\n]+)\]\[[^\[\]\n]*\]", r"\1"),
        (r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1", r"\2"),
        (r"\\([\\`*_{}\[\]()#+.!|<>~-])", r"\1"),
        (r"^[ \t]{1,3}(?=\S)(?![-*+] |\d+\. )", ""),
    )
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
    return flat(html.unescape(found[1].strip().strip("\"'")))


def _first_heading(body: str) -> str:
    """The heading the text begins with, or its first of level one."""
    found = _HEADING.match(body) or _TOP_HEADING.search(body)
    return flat(found[1] or found[2] or "")[:200] if found else ""


def _outside_code(text: str) -> str:
    """Made plainer everywhere but in code, which waits behind numbered marks meanwhile."""
    code: list[str] = []

    def put_away(match: re.Match[str]) -> str:
        code.append(match[0])
        return f"{_MARK}{len(code) - 1}{_MARK}"

    marked = _CODE.sub(put_away, text.replace(_MARK, ""))
    return _MARKED.sub(lambda mark: code[int(mark[1])], _plainer(marked))


def _plainer(text: str) -> str:
    if _HTML_BLOCK.search(text):
        text = _INDENT.sub("", text)
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    return html.unescape(text)
