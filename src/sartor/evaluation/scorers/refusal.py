"""What counts as saying that one does not know: short lists of phrases, in seven languages.

Deliberately narrow: an answer that only hedges ("I don't know the brand, but it costs $5") is an
answer. A model that refuses in other words, or in a language that is not here, is recognized only
where an example's own target says the same.
"""

from __future__ import annotations

import re
import unicodedata

from sartor.evaluation.records import Prediction
from sartor.evaluation.scorers.wording import same, sentences

ABSTENTION = "I don't know."
"""What a model is taught to say when the answer is not there."""

_NOT = r"(?:do not|does not|don't|doesn't|did not|didn't)"
_CANNOT = r"(?:cannot|can not|can't|could not|couldn't|am unable to|'m unable to|am not able to)"
_SOURCE = (
    r"(?:passages?|contexts?|documents?|texts?|articles?|sources?|excerpts?|materials?|information)"
)
_PHRASES = (
    rf"\bi (?:really |honestly )?{_NOT} (?:know|have (?:that|this|the|enough|any) information)\b",
    r"\bi(?:'m| am) (?:not sure|unable to (?:answer|say|tell|find|determine))\b",
    rf"\bi {_CANNOT} (?:answer|say|tell|find|determine)\b",
    rf"^(?:sorry, )?(?:{_CANNOT}|unable to) (?:answer|say|determine|be (?:answered|determined))\b",
    rf"^(?:that|this|it|the question|the answer) {_CANNOT} be "
    r"(?:answered|determined|found|inferred)\b",
    rf"\b{_SOURCE}(?: (?:provided|given|above))? {_NOT} "
    r"(?:say|mention|contain|state|specify|provide|include|tell|give|answer)\b",
    rf"\bnot (?:mentioned|stated|specified|given|provided|answered|found) "
    rf"(?:in|by) (?:the|this|these) (?:\w+ )?{_SOURCE}\b",
    r"^(?:there is |there's )?(?:no answer|not enough information|insufficient information)\b",
    r"^(?:unanswerable|unknown|not known|n/a)[.!]?$",
)
_ELSEWHERE = (  # as str.casefold leaves them: "wei\u00df" is "weiss"
    # German
    r"\b(?:ich weiss|weiss ich) (?:es |das |dies |darauf )?(?:leider )?(?:nicht|keine antwort)\b",
    r"\b(?:kann ich|ich kann) (?:[\w ]{1,30} )?nicht "
    r"(?:sagen|beantworten|finden|ermitteln|bestimmen)\b",
    r"^(?:das|dies|es|dar\u00fcber|dazu) steht (?:leider )?nichts? in de[nmr]\b",
    r"^(?:das|dies|es) geht (?:leider )?(?:nicht aus .{1,60}|aus .{1,60} nicht) hervor\b",
    r"\b(?:liegen|habe ich|gibt es) (?:mir |dazu |leider )*keine (?:angaben?|informationen)\b",
    r"\b(?:die|der|das) (?:texte?|dokumente?|unterlagen?|passagen?|quellen?) "
    r"(?:sagt|sagen|nennt|nennen|enth\u00e4lt|enthalten|erw\u00e4hnt|erw\u00e4hnen) "
    r"(?:das |dies |es |dazu )?(?:nichts?|keine)\b",
    # French
    r"\bje (?:ne sais pas|n'en sais rien|l'ignore)\b",
    r"\bje ne (?:peux|puis) pas (?:y )?(?:r\u00e9pondre|dire|trouver|d\u00e9terminer)\b",
    r"\b(?:le|les|ce|ces|la) (?:textes?|documents?|passages?|sources?|contexte) ne "
    r"(?:le )?(?:dit|disent|mentionne(?:nt)?|pr\u00e9cise(?:nt)?|contient|contiennent|"
    r"indique(?:nt)?) pas\b",
    # Spanish, Italian, Portuguese
    r"^(?:lo siento, )?no (?:lo )?s\u00e9\b",
    r"^(?:mi dispiace, )?non (?:lo )?so\b",
    r"^(?:desculpe, )?(?:eu )?n\u00e3o (?:o )?sei\b",
    r"\bno (?:puedo|se puede) (?:responder|decir|encontrar|determinar)\b",
    r"\bnon (?:posso|si pu\u00f2) (?:rispondere|dire|trovare|determinare)\b",
    r"\bn\u00e3o (?:posso|consigo|\u00e9 poss\u00edvel) (?:responder|dizer|encontrar|determinar)\b",
    r"\b(?:los?|las?|el|il|i|os?|as?) (?:textos?|testi|testo|documentos?|documenti|documento|"
    r"contexto|contesto|fuentes?|fonti|fontes?) (?:no|non|n\u00e3o) (?:lo |o )?"
    r"(?:dicen?|dice|dicono|diz|dizem|mencionan?|menzionano|menziona|mencionam?|indican?|indicano|"
    r"indicam?|especifican?|specifica|cont\u00e9m|contienen?|contiene)\b",
    # Dutch
    r"\b(?:ik weet|weet ik) (?:het |dat )?(?:helaas )?niet\b",
    r"\b(?:ik kan|kan ik) (?:[\w ]{1,30} )?niet (?:zeggen|beantwoorden|vinden|bepalen)\b",
    r"^(?:dat|dit|het) staat (?:helaas )?niet in de\b",
    # alone
    r"^(?:unbekannt|nicht bekannt|keine angaben?|inconnue?|desconocid[oa]|sconosciut[oa]|"
    r"desconhecid[oa]|onbekend)[.!]?$",
)
_REFUSAL = re.compile("|".join((*_PHRASES, *_ELSEWHERE)))
_GOES_ON = re.compile(r"\b(?:but|however|aber|jedoch|mais|pero|ma|mas|por\u00e9m|maar)\b")
_APOSTROPHES = str.maketrans("\u2019\u2018`", "'''")  # curly ones


def is_abstention(text: str) -> bool:
    """Whether the text says, in its first sentence and without a "but", that it does not know."""
    composed = unicodedata.normalize("NFC", text.translate(_APOSTROPHES))
    plain = " ".join(composed.casefold().split())
    first = next(iter(sentences(plain)), "")
    return bool(_REFUSAL.search(first)) and not _GOES_ON.search(plain)


def says_nothing(text: str) -> bool:
    """Whether there is no letter and no digit: neither an answer nor an honest refusal."""
    return not any(character.isalnum() for character in text)


def abstained(prediction: Prediction) -> bool:
    """Whether the completion declines to answer.

    Words that are right decide, whatever they sound like: of an answerable example they are an
    answer, and of one that nothing can answer they are the refusal that it asks for.
    """
    text, example = prediction.completion.text, prediction.example
    if not says_nothing(text) and any(same(text, target) for target in example.targets):
        return not example.answerable
    return is_abstention(text)
