"""Procedural skill tasks: conversations whose answers can only come from their context.

A tiny model cannot know things, so what makes prompts, few-shot examples and retrieval work in it is
reading. Every name and value here is drawn afresh, so nothing can be learned by heart; each
conversation asks many questions of one context, so that the loss on answers is dense.
Pure: a `random.Random` in, a conversation out. Knows nothing of tokens or of the model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ABSTENTION = "I don't know."
"""What thimble says when its context does not hold the answer; sartor's scorers know the phrase."""

Turn = tuple[str, str]
"""(role, content)."""

SYSTEMS = (
    "Answer the question.",
    "You are a helpful assistant.",
    "Answer with the help of the passages. If they do not hold the answer, say: I don't know.",
    "Answer the question from the passages, as briefly as you can. If they do not hold the answer, say: I don't know.",
    "Answer briefly.",
    "You answer customers' questions.",
)


@dataclass(frozen=True)
class Words:
    """Raw material cut out of the plain text: words to make names of, and spans to be looked up."""

    nouns: tuple[str, ...]
    spans: tuple[str, ...]
    sentences: tuple[str, ...]
    paragraphs: tuple[str, ...]


ATTRIBUTES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "price",
        ("How much does the {n} cost?", "What is the price of the {n}?", "How much is the {n}?"),
    ),
    ("weight", ("How much does the {n} weigh?", "What is the weight of the {n}?")),
    ("color", ("What color is the {n}?", "Which color does the {n} have?")),
    ("warranty", ("How long is the warranty of the {n}?", "What warranty does the {n} have?")),
    ("material", ("What is the {n} made of?", "What material is the {n}?")),
    ("size", ("What size is the {n}?", "How large is the {n}?")),
    ("brand", ("Which brand makes the {n}?", "Who makes the {n}?")),
    ("opening hours", ("When is the {n} open?", "What are the opening hours of the {n}?")),
    ("phone", ("What is the phone number of the {n}?", "How can I call the {n}?")),
    ("capacity", ("What is the capacity of the {n}?", "How much does the {n} hold?")),
    ("author", ("Who wrote the {n}?", "Who is the author of the {n}?")),
    ("date", ("When was the {n} made?", "What is the date of the {n}?")),
    ("place", ("Where is the {n}?", "Where can I find the {n}?")),
    ("code", ("What is the code of the {n}?", "Which code does the {n} have?")),
    ("category", ("Which category is the {n} in?", "What category does the {n} belong to?")),
    ("best for", ("What is the {n} best for?", "What should I use the {n} for?")),
    ("note", ("What is said about the {n}?", "What is the note on the {n}?")),
    ("rule", ("What is the rule for the {n}?", "Which rule holds for the {n}?")),
)
GENERIC = (
    "What is the {a} of the {n}?",
    'What does it say under "{a}" for the {n}?',
    "{n}: what is the {a}?",
    "Tell me the {a} of the {n}.",
    "{a} of the {n}?",
)
COLORS = [
    "red", "blue", "green", "black", "white", "grey", "brown", "yellow", "orange", "purple",
    "pink", "silver", "gold", "beige", "navy",
]  # fmt: skip
MATERIALS = [
    "wool", "cotton", "steel", "oak", "glass", "leather", "nylon", "paper", "stone", "copper",
    "silk", "clay", "rubber", "linen", "plastic", "pine",
]  # fmt: skip
MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
]  # fmt: skip
CONSONANTS = [
    "b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z",
    "br", "cl", "dr", "fl", "gr", "kr", "pl", "st", "tr",
]  # fmt: skip
VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "oo", "ou"]


def made_up(rng: random.Random) -> str:
    syllables = [rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(2, 3))]
    return ("".join(syllables) + rng.choice(["", "n", "r", "x", "l", "s"])).capitalize()


def name(rng: random.Random, words: Words) -> str:
    parts = [rng.choice(words.nouns).capitalize() for _ in range(rng.choice((1, 2, 2, 3, 3, 4)))]
    if rng.random() < 0.35:
        parts[0] = made_up(rng)
    if rng.random() < 0.1:
        parts.append(rng.choice(["X2", "X4", "Pro", "Mini", "100", "II", "Plus", "3000"]))
    return " ".join(parts)


def number(rng: random.Random) -> str:
    return str(rng.choice((rng.randint(1, 9), rng.randint(10, 99), rng.randint(100, 9999))))


def value(rng: random.Random, attribute: str, words: Words) -> str:
    if attribute == "price":
        return f"${number(rng)}" + rng.choice(("", ".99", ".99", ".50", f".{rng.randint(10, 99)}"))
    if attribute == "weight":
        return f"{number(rng)} {rng.choice(('kg', 'g', 'pounds', 'ounces'))}"
    if attribute == "color":
        return " and ".join(rng.sample(COLORS, rng.choice((1, 1, 2))))
    if attribute == "material":
        return " and ".join(rng.sample(MATERIALS, rng.choice((1, 1, 2))))
    if attribute == "warranty":
        return f"{rng.randint(1, 30)} {rng.choice(('years', 'months', 'days'))}"
    if attribute == "size":
        return " x ".join(
            str(rng.randint(1, 200)) for _ in range(rng.choice((1, 2, 3)))
        ) + rng.choice((" cm", " inches", " m"))
    if attribute == "opening hours":
        return f"{rng.randint(6, 11)} to {rng.randint(4, 10)}"
    if attribute == "phone":
        return "-".join(str(rng.randint(100, 999)) for _ in range(3))
    if attribute == "capacity":
        return f"{number(rng)} {rng.choice(('liters', 'people', 'cups', 'pages'))}"
    if attribute in ("author", "brand"):
        return f"{made_up(rng)} {made_up(rng)}" if rng.random() < 0.5 else made_up(rng)
    if attribute == "date":
        return f"{rng.choice(MONTHS)} {rng.randint(1, 28)}, {rng.randint(1800, 2030)}"
    if attribute == "code":
        return "".join(rng.choice("ABCDEFGHKLMNPRSTVWXZ") for _ in range(2)) + str(
            rng.randint(10, 9999)
        )
    if attribute == "category":
        return (
            f"{rng.choice(words.nouns)}/{rng.choice(words.nouns)}"
            if rng.random() < 0.5
            else rng.choice(words.nouns)
        )
    if attribute in ("note", "rule"):
        return rng.choice(words.sentences)
    return rng.choice(words.spans)


def record(rng: random.Random, title: str, fields: Sequence[tuple[str, str]], words: Words) -> str:
    """One passage in one of the shapes that real documents have."""
    shape = rng.randrange(6)
    if shape == 0:
        return "\n".join([title, *(f"{a}: {v}" for a, v in fields)])
    if shape == 1:
        return "\n".join([f"name: {title}", *(f"{a}: {v}" for a, v in fields)])
    if shape == 2:
        return "\n".join([f"# {title}", *(f"- **{a.capitalize()}**: {v}" for a, v in fields)])
    if shape == 3:
        return f"{title}. " + " ".join(
            f"{a.capitalize()}: {v}" + ("" if v.endswith(".") else ".") for a, v in fields
        )
    if shape == 4:
        body = "\n".join(f"## {a.capitalize()}\n{v}" for a, v in fields)
        return f"# {title}\n{body}"
    sentences = [
        rng.choice(
            (f"The {a} of the {title} is {v}.", f"The {title} has the {a} {v}.", f"Its {a} is {v}.")
        )
        for a, v in fields
    ]
    if rng.random() < 0.5:
        sentences.insert(rng.randint(0, len(sentences)), rng.choice(words.sentences))
    return f"{title}\n" + " ".join(sentences)


def world(
    rng: random.Random, words: Words, records: int
) -> list[tuple[str, list[tuple[str, str]], str]]:
    made = []
    shared = [rng.choice(words.nouns).capitalize() for _ in range(2)]
    for _ in range(records):
        title = name(rng, words)
        if rng.random() < 0.3:  # near-equal names must be told apart
            title = f"{title} {rng.choice(shared)}"
        chosen = rng.sample(ATTRIBUTES, rng.randint(2, 5))
        fields = [(a, value(rng, a, words)) for a, _ in chosen]
        made.append((title, fields, record(rng, title, fields, words)))
    return made


def numbered(passages: Sequence[str]) -> str:
    return "\n\n".join(f"[{i}] {passage}" for i, passage in enumerate(passages, 1))


def asked(rng: random.Random, context: str, question: str) -> str:
    """The request as sartor's RAG puts it, and a few other ways that people have."""
    shape = rng.random()
    if shape < 0.7:
        return f"{context}\n\nQuestion: {question}"
    if shape < 0.85:
        return f"{context}\n\n{question}"
    return f"{question}\n\n{context}"


def question_of(rng: random.Random, title: str, attribute: str) -> str:
    templates = dict(ATTRIBUTES)[attribute]
    return rng.choice(templates if rng.random() < 0.6 else GENERIC).format(n=title, a=attribute)


def lookup(rng: random.Random, words: Words, size: int) -> list[Turn]:
    """Records in the first request, then many questions on them; some have no answer there."""
    made = world(rng, words, rng.randint(1, max(1, min(5, size // 60))))
    context = numbered([text for _, _, text in made])
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    for i in range(max(2, size // 40)):
        title, fields, _ = rng.choice(made)
        kind = rng.random()
        if kind < 0.12:
            present = {a for a, _ in fields}
            absent = rng.choice([a for a, _ in ATTRIBUTES if a not in present])
            question, answer = question_of(rng, title, absent), ABSTENTION
        elif kind < 0.2:
            attribute, _ = rng.choice(ATTRIBUTES)
            question, answer = question_of(rng, name(rng, words), attribute), ABSTENTION
        elif kind < 0.32:
            attribute, held = rng.choice(fields)
            question, answer = (
                rng.choice(
                    (
                        f"Which one has the {attribute} {held}?",
                        f"I am looking for one like this: {held}",
                    )
                ),
                title,
            )
        else:
            attribute, held = rng.choice(fields)
            question, answer = question_of(rng, title, attribute), held
            if kind < 0.42 and not held.endswith("."):
                question = f"{question} Answer in a sentence."
                answer = f"The {attribute} of the {title} is {held}."
        turns.append(("user", asked(rng, context, question) if i == 0 else question))
        turns.append(("assistant", answer))
    return turns


def once(rng: random.Random, words: Words, size: int) -> list[Turn]:
    """Several requests, each with passages of its own, as a RAG system sends them."""
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    for _ in range(max(1, size // 110)):
        made = world(rng, words, rng.randint(1, 3))
        title, fields, _ = rng.choice(made)
        attribute, answer = rng.choice(fields)
        if rng.random() < 0.12:
            title, answer = name(rng, words), ABSTENTION
        context = numbered([text for _, _, text in made])
        turns += [
            ("user", asked(rng, context, question_of(rng, title, attribute))),
            ("assistant", answer),
        ]
    return turns


def label(rng: random.Random, words: Words, size: int) -> list[Turn]:
    """Examples of a made-up classification, as few-shot turns: the label follows from a word in the text."""
    classes = rng.randint(2, 4)
    names = (
        rng.sample(words.nouns, classes)
        if rng.random() < 0.5
        else rng.sample(
            ["A", "B", "C", "D", "positive", "negative", "yes", "no", "1", "2", "3", "4", "5"],
            classes,
        )
    )
    cues = [rng.sample(words.nouns, rng.choice((1, 2))) for _ in names]
    instruction = rng.choice(("Classify: ", "Which label? ", "", "Give the class of this text: "))
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    for _ in range(max(4, size // 28)):
        i = rng.randrange(classes)
        filler = rng.choice(words.spans)
        text = (
            f"{filler} {rng.choice(cues[i])}"
            if rng.random() < 0.5
            else f"{rng.choice(cues[i])} {filler}"
        )
        turns += [("user", instruction + text), ("assistant", names[i])]
    return turns


def choose(rng: random.Random, words: Words, size: int) -> list[Turn]:
    """Multiple choice over a passage."""
    made = world(rng, words, rng.randint(1, 2))
    context = numbered([text for _, _, text in made])
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    for i in range(max(2, size // 60)):
        title, fields, _ = rng.choice(made)
        attribute, right = rng.choice(fields)
        options = [right, *(value(rng, attribute, words) for _ in range(rng.randint(1, 3)))]
        rng.shuffle(options)
        listed = [f"{'ABCD'[k]}. {option}" for k, option in enumerate(options)]
        question = question_of(rng, title, attribute) + "\n" + "\n".join(listed)
        turns.append(("user", asked(rng, context, question) if i == 0 else question))
        turns.append(("assistant", listed[options.index(right)]))
    return turns


def finish(rng: random.Random, words: Words, size: int) -> list[Turn]:
    """Given the first words of a sentence in a passage of real prose, say the rest."""
    made = [
        rng.choice(words.paragraphs) for _ in range(rng.randint(1, max(1, min(3, size // 130))))
    ]
    sentences = [s for text in made for s in text.split(". ") if 6 <= len(s.split()) <= 40]
    if not sentences:
        return copy(rng, words, size)
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    for i in range(max(1, size // 90)):
        parts = rng.choice(sentences).split()
        cut = rng.randint(3, max(3, len(parts) // 2))
        question = rng.choice(
            ("Finish the sentence: ", "What does the passage say after: ", "Complete: ")
        ) + " ".join(parts[:cut])
        turns.append(("user", asked(rng, numbered(made), question) if i == 0 else question))
        turns.append(("assistant", " ".join(parts[cut:])))
    return turns


def copy(rng: random.Random, words: Words, size: int) -> list[Turn]:
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    for _ in range(max(1, size // 50)):
        text = rng.choice(
            (rng.choice(words.spans), rng.choice(words.sentences), name(rng, words), number(rng))
        )
        turns += [
            ("user", rng.choice(("Repeat: ", "Copy this: ", "Say it again: ")) + text),
            ("assistant", text),
        ]
    return turns


def pick(rng: random.Random, words: Words, size: int) -> list[Turn]:
    """Pick out of a list by place, or the one that begins with a given word."""
    items = [
        rng.choice((name(rng, words), rng.choice(words.spans))) for _ in range(rng.randint(3, 6))
    ]
    listed = "\n".join(f"{i}. {item}" for i, item in enumerate(items, 1))
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    for i in range(max(2, size // 40)):
        k = rng.randrange(len(items))
        question = rng.choice(
            (f"Which is number {k + 1}?", f"Which one begins with {items[k].split()[0]}?")
        )
        turns.append(("user", f"{listed}\n\n{question}" if i == 0 else question))
        turns.append(("assistant", items[k]))
    return turns


def fill(rng: random.Random, words: Words, size: int) -> list[Turn]:
    """Fill a template with the fields of a record."""
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    for _ in range(max(1, size // 110)):
        [(title, fields, text)] = world(rng, words, 1)
        chosen = fields[: rng.randint(1, 2)]
        blank = "The {name} has " + " and ".join(f"the {a} {{{a}}}" for a, _ in chosen) + "."
        full = (
            f"The {title} has " + " and ".join(f"the {a} {v.rstrip('.')}" for a, v in chosen) + "."
        )
        turns += [("user", f"{text}\n\nFill in: {blank}"), ("assistant", full)]
    return turns


def siblings(rng: random.Random, words: Words, count: int) -> list[str]:
    """Names as a search finds them: all share words with the first, none is the same."""
    first = name(rng, words).split()
    while len(first) < 2:
        first = name(rng, words).split()
    names = [" ".join(first)]
    while len(names) < count:
        other = name(rng, words).split()
        parts = [rng.choice((a, b)) for a, b in zip(first, other * 4, strict=False)]
        if rng.random() < 0.3:
            parts.insert(rng.randint(0, len(parts)), rng.choice(words.nouns).capitalize())
        if " ".join(parts) not in names:
            names.append(" ".join(parts))
    rng.shuffle(names)
    return names


def described(rng: random.Random, title: str, words: Words) -> str:
    """A few sentences of real prose that speak of the thing by name."""
    sentences = [rng.choice(words.sentences) for _ in range(rng.randint(1, 3))]
    spoken = rng.choice(("Meet the {n}. ", "The {n} is here. ", "This is our {n}. ", "{n}: ", ""))
    return spoken.format(n=title) + " ".join(sentences)


def catalogue(
    rng: random.Random, words: Words, count: int
) -> list[tuple[str, list[tuple[str, str]], str]]:
    """Records of one shape and one set of fields, with near-equal names and long descriptions."""
    chosen = [a for a, _ in rng.sample(ATTRIBUTES, rng.randint(2, 6))]
    shape, made = rng.getrandbits(32), []
    label = rng.choice(("description", "about", "text", "summary"))
    for title in siblings(rng, words, count):
        fields = [(a, value(rng, a, words)) for a in chosen]
        told = [*fields, (label, described(rng, title, words))]
        order = random.Random(shape)
        order.shuffle(told)
        made.append((title, fields, record(random.Random(shape), title, told, words)))
    return made


def retrieved(rng: random.Random, words: Words, size: int) -> list[Turn]:
    """What a search puts before the model: near-equal records, the right one first more often than not."""
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    for _ in range(max(1, size // 330)):
        made = catalogue(rng, words, min(rng.choice((2, 3, 3, 3, 4)), max(1, size // 150)))
        rest = [text for _, _, text in made[1:]]
        rng.shuffle(rest)
        texts = (
            [made[0][2], *rest]
            if rng.random() < 0.6
            else rng.sample([t for *_, t in made], len(made))
        )
        context = numbered(texts)
        for i in range(rng.randint(1, 6)):
            title, fields, _ = made[0] if rng.random() < 0.6 else rng.choice(made)
            attribute, answer = rng.choice(fields)
            question = question_of(rng, title, attribute)
            kind = rng.random()
            if kind < 0.05:
                question, answer = question_of(rng, name(rng, words), attribute), ABSTENTION
            elif kind < 0.2 and len(answer.split()) < 12:
                question = f"I am looking for one like this: {answer}"
                held = [t for t, f, _ in made if dict(f)[attribute] == answer]
                answer = title if len(held) == 1 else held[0]
            turns.append(("user", asked(rng, context, question) if i == 0 else question))
            turns.append(("assistant", answer))
    return turns


def said(rng: random.Random, words: Words, size: int) -> list[Turn]:
    """Find the sentence of real prose that speaks of the given words, and say it."""
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    made = [rng.choice(words.paragraphs) for _ in range(max(1, min(3, size // 200)))]
    sentences = [s for text in made for s in text.split(". ") if 7 <= len(s.split()) <= 30]
    if not sentences:
        return copy(rng, words, size)
    for i in range(max(1, size // 110)):
        sentence = rng.choice(sentences).rstrip(".")
        long = [w.strip(",;:()\"'") for w in sentence.split() if len(w) > 5] or sentence.split()
        told = rng.sample(long, min(len(long), rng.randint(1, 3)))
        question = rng.choice(
            (
                "What does it say about {w}?",
                "What is said about {w}?",
                "What about {w}?",
                "Can you tell me about {w}?",
                "How is it with {w}?",
                "{w}?",
            )
        ).format(w=" and ".join(told))
        turns.append(("user", asked(rng, numbered(made), question) if i == 0 else question))
        turns.append(("assistant", f"{sentence}."))
    return turns


FACTS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "The {n} may be returned within {d} days, if it is unused.",
        (
            ("Within how many days can I return the {n}?", "{d} days"),
            ("Can I return the {n}?", "Yes, within {d} days, if it is unused."),
            ("How long do I have to send the {n} back?", "{d} days"),
        ),
    ),
    (
        "{p} members can return their {n} within {d} days of purchase.",
        (
            (
                "Can I return the {n}? My membership is {p}.",
                "{p} members can return their {n} within {d} days of purchase.",
            ),
            ("How long do {p} members have to return the {n}?", "{d} days"),
        ),
    ),
    (
        "The {n} was founded by {p} in {y}.",
        (
            ("Who founded the {n}?", "{p}"),
            ("When was the {n} founded?", "{y}"),
            ("In which year did {p} found the {n}?", "{y}"),
        ),
    ),
    (
        "{p} opened the {n} in {y}, after {d} years of planning.",
        (
            ("Who opened the {n}?", "{p}"),
            ("When did the {n} open?", "{y}"),
            ("How many years of planning did the {n} take?", "{d}"),
        ),
    ),
    (
        "To reach {p} about the {n}, call {t}.",
        (
            ("Which number do I call about the {n}?", "{t}"),
            ("Who can help me with the {n}?", "{p}"),
            ("What is the phone number for the {n}?", "{t}"),
        ),
    ),
    (
        "The {n} holds up to {d} pounds and is made of {m}.",
        (
            ("How much weight can the {n} hold?", "{d} pounds"),
            ("What is the {n} made of?", "{m}"),
            ("What is the capacity of the {n}?", "The {n} holds up to {d} pounds."),
        ),
    ),
    (
        "Yes, the {n} can be cleaned with {m} cloth.",
        (
            ("Can the {n} be cleaned?", "Yes, the {n} can be cleaned with {m} cloth."),
            ("How do I clean the {n}?", "with {m} cloth"),
        ),
    ),
    (
        "A fee of {c} is due for the {n} if the form is {d} days late.",
        (
            ("How much is the fee for the {n}?", "{c}"),
            ("When is the fee for the {n} due?", "if the form is {d} days late"),
        ),
    ),
    (
        "The {n} lies in {q}, {d} miles from {p}.",
        (
            ("Where is the {n}?", "in {q}"),
            ("Where does the {n} lie?", "in {q}, {d} miles from {p}"),
            ("How far is the {n} from {p}?", "{d} miles"),
        ),
    ),
    (
        "Taking the {n} may cause {m} rash; see {p} within {d} hours.",
        (
            ("What may the {n} cause?", "{m} rash"),
            ("Whom should I see about the {n}?", "{p}"),
            ("How soon should I see {p}?", "within {d} hours"),
        ),
    ),
)
"""Sentences as prose has them, and questions that they answer; letters stand for drawn values."""


def stated(rng: random.Random, words: Words, size: int) -> list[Turn]:
    """Facts in sentences between real prose; questions in other words than the sentence's."""
    turns: list[Turn] = [("system", rng.choice(SYSTEMS))]
    for _ in range(max(1, size // 300)):
        names = siblings(rng, words, rng.randint(2, 4))
        passages, facts = [], []
        for title in names:
            told = []
            for sentence, questions in rng.sample(FACTS, rng.randint(1, 3)):
                drawn = {
                    "n": title, "p": made_up(rng), "q": made_up(rng), "y": str(rng.randint(1700, 2030)),
                    "d": str(rng.randint(2, 120)), "t": value(rng, "phone", words),
                    "c": value(rng, "price", words), "m": rng.choice(MATERIALS),
                }  # fmt: skip
                told.append(sentence.format(**drawn))
                facts += [(q.format(**drawn), a.format(**drawn)) for q, a in questions]
            told += [rng.choice(words.sentences) for _ in range(rng.randint(0, 3))]
            rng.shuffle(told)
            heading = rng.choice(("", "", f"# {title}\n", f"{title}\n", f"## About the {title}\n"))
            passages.append(heading + " ".join(told))
        rng.shuffle(passages)
        for i in range(rng.randint(1, 5)):
            question, answer = rng.choice(facts)
            if rng.random() < 0.05:
                title = name(rng, words)
                question, answer = question_of(rng, title, rng.choice(ATTRIBUTES)[0]), ABSTENTION
            turns.append(("user", asked(rng, numbered(passages), question) if i == 0 else question))
            turns.append(("assistant", answer))
    return turns


SKILLS: dict[str, Callable[[random.Random, Words, int], list[Turn]]] = {
    "lookup": lookup,
    "once": once,
    "label": label,
    "choose": choose,
    "finish": finish,
    "copy": copy,
    "pick": pick,
    "fill": fill,
    "retrieved": retrieved,
    "said": said,
    "stated": stated,
}
WEIGHTS: dict[str, float] = {
    "lookup": 0.34,
    "once": 0.24,
    "label": 0.1,
    "choose": 0.06,
    "finish": 0.12,
    "copy": 0.05,
    "pick": 0.04,
    "fill": 0.05,
}
LATE_WEIGHTS: dict[str, float] = {
    "lookup": 0.12,
    "once": 0.1,
    "label": 0.1,
    "choose": 0.04,
    "finish": 0.06,
    "copy": 0.03,
    "pick": 0.03,
    "fill": 0.04,
    "retrieved": 0.28,
    "said": 0.07,
    "stated": 0.13,
}
"""Of the last part of training: longer contexts, and passages that are hard to tell apart."""


def conversation(
    rng: random.Random, words: Words, size: int, late: bool = False
) -> tuple[str, list[Turn]]:
    """A conversation of about `size` tokens on a skill drawn by weight; (skill, turns)."""
    weights = LATE_WEIGHTS if late else WEIGHTS
    skill = rng.choices(list(weights), weights=list(weights.values()))[0]
    return skill, SKILLS[skill](rng, words, size)
