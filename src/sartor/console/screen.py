"""Where text goes: a terminal's width or a fixed one, and tables without lines."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape as without_markup
from rich.table import Table

from sartor.data.cleaning import harmless

WIDTH = 150
"""Columns of a table where there is no terminal."""


def escape(text: str) -> str:
    """As it stands: neither rich's marks nor control characters in it do anything."""
    return without_markup(harmless(text))


def console() -> Console:
    width = None if sys.stderr.isatty() else WIDTH
    return Console(stderr=True, width=width, highlight=False)


def per_thousand(cost: float | None) -> str:
    return "-" if cost is None else f"{cost * 1000:.4f}"


def table_of(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(escape(column), overflow="fold")
    return table
