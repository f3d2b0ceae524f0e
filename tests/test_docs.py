"""Whatever the documentation shows runs, and its links lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import normdrop as nd

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- needs: (?P<needs>\w+) -->\n)?```python\n(?P<code>.*?)^```$", re.M | re.S
)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
MODULES = [
    "normdrop",
    "normdrop.functional.alpha_dropout",
    "normdrop.functional.batch_norm",
    "normdrop.functional.batch_norm_halves",
    "normdrop.functional.dropout",
    "normdrop.functional.dropout_add_norm",
    "normdrop.functional.dropout_mask",
    "normdrop.functional.gaussian_dropout",
    "normdrop.functional.group_norm",
    "normdrop.functional.instance_norm",
    "normdrop.functional.layer_norm",
    "normdrop.functional.prelu",
    "normdrop.functional.rms_norm",
    "normdrop.functional.uniform_dropout",
    "normdrop.functional.weight_norm",
    "normdrop.gradient_sums",
    "normdrop.results",
    "normdrop.runtime",
    "normdrop.layers.base",
    "normdrop.layers.batch_norm",
    "normdrop.layers.dropout",
    "normdrop.layers.group_norm",
    "normdrop.layers.instance_norm",
    "normdrop.layers.layer_norm",
    "normdrop.layers.noise",
    "normdrop.layers.prelu",
    "normdrop.layers.rms_norm",
    "normdrop.layers.structured_dropout",
    "normdrop.layers.weight_norm",
    "normdrop.experiments.network",
]


class Block(NamedTuple):
    """A block of Python on a page; ``needs`` names a package without which it is left out."""

    line: int
    code: str
    needs: str | None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("code")) + 1
        yield Block(line, found["code"], found["needs"])


@pytest.fixture(autouse=True)
def settings_are_restored(tmp_path, monkeypatch):
    """Pages may change the settings of the process and write files."""
    monkeypatch.chdir(tmp_path)
    before = nd.show_config("dict")
    yield
    nd.set_num_threads(before["threads"])
    nd.set_pool_limit(before["pool_limit_bytes"])
    nd.use_backend(before["backend"])


def run(block: Block, page: Path, names: dict[str, object]) -> None:
    """Run one block: a session with ``>>>`` as a doctest, anything else as a script."""
    place = f"{page.name}, line {block.line}"
    if not block.code.startswith(">>>"):
        exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(block.code, names, place, str(page), block.line - 1)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    result = runner.run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    assert result.failed == 0, "".join(report)


def run_page(page: Path, framework: str | None = None) -> None:
    """The blocks of a page share their names, from top to bottom."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.needs in (None, framework):
            run(block, page, names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_pages_run(page):
    run_page(page)


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("page", "framework"),
    [
        (page, name)
        for page in PAGES
        for name in sorted({block.needs for block in blocks(page)} - {None})
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_examples_that_need_a_framework_run(page, framework):
    pytest.importorskip(framework)
    run_page(page, framework)


def test_every_python_block_is_found():
    """A block that the pattern above misses would never run."""
    for page in PAGES:
        text = page.read_text()
        assert text.count("```python") == len(list(blocks(page))), page.name
        assert ">>>" not in re.sub(BLOCK, "", text), f"{page.name}: a session outside a block"


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_links_lead_to_files():
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "csrc" / "cuda" / "README.md"]:
        for found in LINK.finditer(page.read_text()):
            target = found["target"].partition("#")[0]
            if target and "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {found['target']}"


def test_anchors_lead_to_headings():
    for page in PAGES:
        for found in LINK.finditer(page.read_text()):
            target, _, anchor = found["target"].partition("#")
            if anchor and "://" not in target:
                other = (page.parent / target) if target else page
                assert anchor in anchors(other), f"{page.name}: {found['target']}"


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, by the rule of the usual Markdown viewers."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_the_reference_names_everything_public():
    text = (ROOT / "docs" / "reference.md").read_text()
    layers = importlib.import_module("normdrop.layers")
    for name in [*nd.__all__, *layers.__all__]:
        if not name.startswith("__"):
            assert f"`{name}" in text, name
