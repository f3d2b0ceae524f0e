"""What the sections of the demo's page have in common."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

Pictures = Mapping[str, Mapping[str, bytes]]  # name -> theme -> PNG
Content = Mapping[str, Any]  # of results.json


def summary_of(content: Content, depth: int, variant: str) -> Mapping[str, Any]:
    """Find the row of a depth and a variant."""
    found: Mapping[str, Any] = next(
        row
        for row in content["results"]["summary"]
        if (row["depth"], row["variant"]) == (depth, variant)
    )
    return found


def figure(themes: Mapping[str, bytes], description: str) -> str:
    """Embed a picture, light or dark as the reader's page."""
    light, dark = (
        "data:image/png;base64," + base64.b64encode(themes[name]).decode()
        for name in ("light", "dark")
    )
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(description)}"></picture></figure>'
    )


def scroll_table(head: str, rows: str) -> str:
    """Put rows into a table that scrolls sideways by itself on a narrow screen."""
    return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'
