"""From bytes to text: UTF-8, UTF-16 with its mark, and Windows-1252 as the last resort.

What is not text is `Unreadable`, with the reason; who catches it decides whether that is an error.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_ASCII = '<meta charset="x"/>'  # a file that declares its encoding is ASCII that far
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


class Unreadable(Exception):  # noqa: N818 - a finding about one file, recorded or raised as DataError
    """A file, or a part of one, that gives no text; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text of a file, and what had to be guessed to get it."""

    text: str
    note: str = ""


def decode(data: bytes, declared: str = "") -> Decoded:
    """Text with "\\n" line ends; `declared` is the encoding that the file itself names."""
    decoded = _decode(data, declared)
    return Decoded(decoded.text.replace("\r\n", "\n").replace("\r", "\n"), decoded.note)


def _decode(data: bytes, declared: str) -> Decoded:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Decoded(_strictly(data, "utf-16"))
    refuse_binary(data)
    try:
        return Decoded(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return _as_declared(data, declared) or _as_windows_1252(data, declared)


def refuse_binary(data: bytes) -> None:
    """Raise if the bytes hold a NUL, which no text in a supported encoding does."""
    if b"\0" in data and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Unreadable(
            "is binary (it holds NUL bytes); text must be UTF-8, or UTF-16 with a mark"
        )


def _strictly(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not valid {encoding.upper()} (byte {error.start})") from error
    if "\0" in text:
        raise Unreadable("is binary (it holds NUL characters)")
    return text


def _as_declared(data: bytes, declared: str) -> Decoded | None:
    """None where the file lies: it names what is no encoding, or one it could not be named in."""
    try:
        if declared and _ASCII.encode().decode(declared) == _ASCII:
            return Decoded(data.decode(declared))
    except (LookupError, ValueError):  # of codecs; "undefined" raises no UnicodeDecodeError
        return None
    return None


def _as_windows_1252(data: bytes, declared: str) -> Decoded:
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise Unreadable(f"is neither UTF-8 nor Windows-1252 text (byte {error.start})") from error
    if len(_CONTROL.findall(text)) > len(text) // 100:
        raise Unreadable("is binary (it is full of control characters)")
    named = f" nor, as it declares, {declared}" if _is_other(declared) else ""
    return Decoded(text, f"is not UTF-8{named}; read as Windows-1252 (cp1252)")


def _is_other(declared: str) -> bool:
    return declared.lower().replace("_", "-") not in ("", "utf-8", "utf8")
