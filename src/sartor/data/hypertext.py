"""HTML: the text of the page without its furniture; a catalogue where cards repeat with an id.

Furniture is what pages call so (nav, footer, script, ...), what their classes and roles call so,
and blocks that are nearly all links (Kohlschuetter et al., WSDM 2010: link density).
"""

from __future__ import annotations

import re
from collections import Counter

from sartor.data.catalogue import Fields, Parsed, catalogue
from sartor.data.cleaning import clean, flat
from sartor.data.decoding import Unreadable
from sartor.data.markup import HEADINGS, ITEMS, ROWS, Element, Paragraphs, children, name_of

_FURNITURE = frozenset(
    """
    script style nav footer aside form button noscript template svg iframe canvas object
    select input textarea dialog head audio video map
    """.split()  # noqa: SIM905 - words read better than quotes and commas
)
_FURNITURE_ROLES = frozenset(
    {"navigation", "banner", "contentinfo", "search", "complementary", "dialog"}
)
_FURNITURE_WORDS = re.compile(
    r"(?:^|[\s_-])(?:nav(?:bar|igation)?|menu|breadcrumbs?|sidebar|cookies?|consent|footer|masthead|social|share"
    r"|advert(?:isement)?s?|ads|banner|pagination|skip-link|related|newsletter|subscribe)(?:$|[\s_-])",
    re.IGNORECASE,
)
_BLOCKS = frozenset(
    """
    p div section article main header table thead tbody tfoot tr ul ol li dl dt dd blockquote
    pre figure figcaption address details summary hr h1 h2 h3 h4 h5 h6 body caption center
    fieldset td th
    """.split()  # noqa: SIM905 - words read better than quotes and commas
)
_CARDS = frozenset({"div", "article", "li", "section", "tr"})
_CARD_WORDS = re.compile(r"product|item|card|record|entry|listing|offer", re.IGNORECASE)
_SHORT = 80  # characters
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_WHITESPACE = re.compile(r"\s+")
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)


def declared_charset(data: bytes) -> str:
    """The encoding that the page names, or nothing."""
    found = _CHARSET.search(data[:4096])
    return found[1].decode("ascii") if found else ""


def hypertext(text: str) -> list[Parsed]:
    """The records of a catalogue page, or one document."""
    root = _parsed(text)
    title = _title(root)
    _strip(root)
    cards = _catalogue_cards(root)
    if cards:
        return catalogue([_fields(card) for card in cards])
    body = _main(root)
    paragraphs = Paragraphs()
    _walk(body, paragraphs)
    return [Parsed(clean(paragraphs.text()), title)]


def _parsed(text: str) -> Element:
    from lxml import etree, html

    try:
        root = html.document_fromstring(
            _DECLARATION.sub("", text),
            parser=html.HTMLParser(huge_tree=False, remove_comments=True, remove_pis=True),
        )
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise Unreadable(f"is not HTML ({error})") from error
    return root


def _title(root: Element) -> str:
    """The <h1>, unless the <title> says more before it than a site's name would after it."""
    heading = next((flat(element.text_content()) for element in root.iter("h1")), "")
    title = next((flat(element.text_content()) for element in root.iter("title")), "")
    says_more = heading in title and not title.startswith(heading)
    return str(title if says_more or not heading else heading)[:200]


def _strip(root: Element) -> None:
    body = root.find("body")
    for element in list(root.iter()):
        if element is not body and element is not root and _is_furniture(element):
            element.drop_tree()


def _is_furniture(element: Element) -> bool:
    name = name_of(element)
    if not name or name in _FURNITURE or element.get("role", "") in _FURNITURE_ROLES:
        return True
    if name in ("main", "article", "h1") or name not in _BLOCKS:
        return False
    if name == "header" and not any(
        parent.tag in ("main", "article") for parent in element.iterancestors()
    ):
        return element.find(".//h1") is None
    named = f"{element.get('class', '')} {element.get('id', '')}"
    if element.get("aria-hidden") == "true" or element.get("hidden") is not None:
        return True
    return (
        bool(_FURNITURE_WORDS.search(named)) and len(element.text_content()) < 2000
    ) or _is_all_links(element)


def _is_all_links(element: Element) -> bool:
    if name_of(element) not in ("ul", "ol", "div"):
        return False
    links = [flat(link.text_content()) for link in element.iter("a")]
    whole = len(flat(element.text_content()))
    return len(links) >= 4 and whole < 1500 and sum(map(len, links)) > 0.8 * whole


def _catalogue_cards(root: Element) -> list[Element]:
    """The largest set of siblings that share tag and class, have ids, and hold the same fields."""
    kinds: dict[tuple[Element, str, str], list[Element]] = {}
    for element in root.iter(*_CARDS):
        if element.get("id") and element.get("class"):
            kinds.setdefault((element.getparent(), element.tag, element.get("class")), []).append(
                element
            )
    alike = max(kinds.values(), key=len, default=[])
    return alike if len(alike) >= 2 and _are_cards(alike) else []


def _are_cards(elements: list[Element]) -> bool:
    named = (
        bool(_CARD_WORDS.search(elements[0].get("class")))
        or elements[0].get("itemscope") is not None
    )
    shared = Counter(label for card in elements for label in _short_fields(card))
    return named or any(count >= 0.8 * len(elements) for count in shared.values())


def _short_fields(card: Element) -> set[str]:
    """Labels of what stands in the card as a short block of its own, like a price."""
    parts = (part for part in card.iter(*_BLOCKS) if part is not card)
    return {_label(part) for part in parts if len(flat(part.text_content())) <= _SHORT} - {""}


def _fields(card: Element) -> Fields:
    fields = [("id", str(card.get("id")))]
    paragraphs: list[tuple[str, str]] = []
    for part in card.iter():
        if part is not card and not any(name_of(child) in _BLOCKS for child in part):
            if name_of(part.getparent()) not in _BLOCKS:
                continue
            text = flat(part.text_content())
            is_name = name_of(part) in HEADINGS and not any(
                name == "name" for name, _ in paragraphs
            )
            paragraphs.append(("name" if is_name else _label(part), text))
    return fields + [(name, text) for name, text in paragraphs if text]


def _label(part: Element) -> str:
    return str(part.get("itemprop") or (part.get("class") or "").split(" ")[0])


def _main(root: Element) -> Element:
    """The page's <main>, or its only <article>, where nearly all its text is."""
    body = root.find("body")
    body = root if body is None else body
    for candidates in (list(body.iter("main")), list(body.iter("article"))):
        if len(candidates) == 1 and len(candidates[0].text_content()) > 0.3 * len(
            body.text_content()
        ):
            return candidates[0]
    return body


def _walk(element: Element, out: Paragraphs) -> None:
    out.open(_spaced(element.text, element))
    for child in element:
        _visit(child, name_of(child), out)
        out.open(_spaced(child.tail, element))


def _spaced(text: str | None, element: Element) -> str:
    """Line ends of the source are spaces, but in <pre>."""
    return (text or "") if name_of(element) == "pre" else _WHITESPACE.sub(" ", text or "")


def _visit(child: Element, name: str, out: Paragraphs) -> None:
    if name == "br":
        out.open("\n")
    elif name in ROWS:
        out.row([flat(cell.text_content()) for cell in children(child)])
    elif name in HEADINGS:
        out.close()
        text = flat(child.text_content())
        out.done += [f"{'#' * HEADINGS[name]} {text}"] if text else []
    elif name in _BLOCKS:
        out.close("- " if name in ITEMS else "")
        _walk(child, out)
        out.close()
    elif name:
        _walk(child, out)
