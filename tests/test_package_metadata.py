"""The metadata that a package index shows: its links work without the repository around them."""

from __future__ import annotations

import email
import re
import subprocess
import sys
from email.message import Message

import pytest

from test_docs import LINK, ROOT, anchors

PREPARE = """
import sys
from scikit_build_core.build import prepare_metadata_for_build_wheel as prepare
print(prepare(sys.argv[1]))
"""
REPOSITORY = "https://github.com/normdrop/normdrop"


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Message:
    """As the build writes it; nothing is compiled for that."""
    pytest.importorskip("scikit_build_core")
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("the build's files are not beside the tests")
    folder = tmp_path_factory.mktemp("metadata")
    command = [sys.executable, "-c", PREPARE, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name = done.stdout.splitlines()[-1]
    return email.message_from_string((folder / name / "METADATA").read_text(encoding="utf-8"))


def require_in_repository(url: str) -> None:
    """A link into the repository leads to a file or folder, and to a heading of it."""
    found = re.fullmatch(rf"{REPOSITORY}/(blob|tree|raw)/main/([^#]+)#?(.*)", url)
    assert found is not None, url
    path = ROOT / found[2]
    assert path.is_dir() if found[1] == "tree" else path.is_file(), url
    assert not found[3] or found[3] in anchors(path), url


def test_every_link_of_the_description_is_absolute_and_leads_somewhere(metadata):
    description = metadata.get_payload()
    targets = [found["target"] for found in LINK.finditer(description)]
    assert len(targets) == len(list(LINK.finditer((ROOT / "README.md").read_text()))) > 10
    for target in targets:
        assert target.startswith("https://"), target
        if target.startswith(REPOSITORY):
            require_in_repository(target)
    assert not re.search(r'(?:src|href)="(?!https://)', description)


def test_the_projects_urls(metadata):
    urls = dict(entry.split(", ") for entry in metadata.get_all("Project-URL"))
    assert {"Homepage", "Documentation", "Source", "Changelog", "Issues"} <= set(urls)
    assert urls["Source"] == REPOSITORY
    require_in_repository(urls["Documentation"])
    require_in_repository(urls["Changelog"])


def test_images_and_headings_of_a_page_become_absolute(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from readme_links import with_absolute_links

    page = (
        "[![plot](bench/a.png)](docs/how-to.md#x) [here](#all-cases) [there](https://a.b/c) "
        "[f](docs)"
    )
    assert with_absolute_links(page, "https://r") == (
        "[![plot](https://r/raw/main/bench/a.png)](https://r/blob/main/docs/how-to.md#x) "
        "[here](https://r/blob/main/README.md#all-cases) [there](https://a.b/c) "
        "[f](https://r/tree/main/docs)"
    )
