"""Labels of bugs in the tests and their table in README.md belong together."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
LABEL = r"[A-K]\d{1,2}"
GROUP = re.compile(rf"\b{LABEL}(?:(?:, | and | to ){LABEL})+\b|\({LABEL}\b|\b{LABEL}\)")


def expanded(group: str) -> set[str]:
    """The labels of a group, with "A6 to A12" written out."""
    labels = set(re.findall(LABEL, group))
    for letter, first, last in re.findall(r"([A-K])(\d+) to [A-K](\d+)", group):
        labels |= {f"{letter}{number}" for number in range(int(first), int(last) + 1)}
    return labels


def used() -> set[str]:
    found: set[str] = set()
    for path in HERE.glob("*.py"):
        if path.name not in ("test_readme.py", "test_isa_symbols.py"):
            for docstring in re.findall(r'"""(.*?)"""', path.read_text(), flags=re.S):
                for group in GROUP.findall(docstring):
                    found |= expanded(group)
    return found


def test_every_label_is_explained_and_every_explanation_used():
    table = set(re.findall(rf"^\| ({LABEL}) \|", (HERE / "README.md").read_text(), flags=re.M))
    assert len(table) > 80
    assert used() - table == set(), "labels that README.md does not explain"
    assert table - used() == set(), "bugs in README.md that no test names"
