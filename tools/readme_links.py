"""The README for the package's metadata, with absolute links: an index shows it without the tree.

A provider of scikit-build-core: ``[[tool.dynamic-metadata]]`` in pyproject.toml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?P<before>(?P<image>!\[[^\]]*)?\]\()(?P<target>[^)\s]+)")


def dynamic_metadata(settings: Mapping[str, Any], project: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field ``readme``."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = with_absolute_links(text, project["urls"]["Source"])
    return {"readme": {"content-type": "text/markdown", "text": text}}


def with_absolute_links(text: str, repository: str) -> str:
    """Return the page with every link that is relative to the repository made absolute."""

    def absolute(found: re.Match[str]) -> str:
        target = found["target"]
        if "://" in target:
            return found[0]
        if target.startswith("#"):
            target = f"README.md{target}"
        kind = "raw" if found["image"] else "tree" if (ROOT / target).is_dir() else "blob"
        return f"{found['before']}{repository}/{kind}/main/{target}"

    return LINK.sub(absolute, text)
