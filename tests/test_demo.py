"""The demo: its files, the same numbers again, a page that stands alone, and clean endings."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from normdrop.cli import demo as command
from normdrop.cli.main import main
from normdrop.experiments import report
from tolerances import HANG_SECONDS

pytest.importorskip("sklearn")
pytest.importorskip("rich")
pytest.importorskip("matplotlib")

SMALL = ["demo", "--quick", "--steps", "12", "--seeds", "2", "--seed", "5"]
PICTURES = ["accuracy-10.png", "accuracy-3.png", "percentiles-10.png", "percentiles-3.png"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "deeper" / "still"
    assert main([*SMALL, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def content(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "index.html").read_text(encoding="utf-8")


def test_files(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {*PICTURES, "index.html", "results.json"}
    for name in PICTURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_the_same_numbers_again(folder, content, tmp_path, capsys):
    assert main([*SMALL, "--out", str(tmp_path)]) == 0
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["results"] == content["results"] and again["settings"] == content["settings"]
    for name in PICTURES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    shown = capsys.readouterr()
    assert str((tmp_path / "index.html").resolve()) in shown.out
    assert "\x1b" not in shown.out + shown.err  # not a terminal: no colours, no bars


def test_results(content):
    runs, summary = content["results"]["runs"], content["results"]["summary"]
    assert len(runs) == 2 * 5 * 2 and len(summary) == 2 * 5
    assert {run["seed"] for run in runs} == {5, 6}
    for run in runs:
        assert run["steps"][0] == 0 and run["steps"][-1] == 12
        assert len(run["steps"]) == len(run["accuracy"]) == len(run["percentiles"])
        assert all(low <= middle <= high for low, middle, high in run["percentiles"])
    for row in summary:
        assert 0 <= row["lowest"] <= row["median"] <= row["highest"] <= 1
    assert "seconds" not in json.dumps(content["results"])
    assert content["benchmark"]["missing"].startswith("left out")


class References(HTMLParser):
    """Collects what a page points at, and whether its tags close."""

    VOID = frozenset({"meta", "img", "source", "br"})

    def __init__(self):
        super().__init__()
        self.found = []
        self.open = []
        self.viewport = False

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.viewport |= tag == "meta" and values.get("name") == "viewport"
        self.found += [values[k] for k in ("src", "srcset", "href", "data") if values.get(k)]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone(page, folder):
    parser = References()
    parser.feed(page)
    assert parser.open == [] and parser.viewport
    assert len(parser.found) == 2 * len(PICTURES)  # light and dark
    assert all(found.startswith("data:image/png;base64,") for found in parser.found)
    assert not re.search(r"https?:|@import|url\(|<script", page)
    embedded = {base64.b64decode(found.partition(",")[2]) for found in parser.found}
    assert {(folder / name).read_bytes() for name in PICTURES} <= embedded


def test_the_page_says_what_was_run(page):
    for said in ("1297 for training", "500 test images drawn at random with seed 5", "batch 60",
                 "learning rate 0.1", "12 steps", "standard deviation 0.1", "5, 6"):  # fmt: skip
        assert said in page


def test_the_page_does_not_claim_what_the_numbers_do_not_show(page, content):
    assert "does not show" in page  # twelve steps teach nobody anything
    shown = copy.deepcopy(content)
    for row in shown["results"]["summary"]:
        if row["depth"] == 10:
            row["median"] = 0.96 if row["variant"] == "batch norm" else 0.1
    pictures = {name.removesuffix(".png"): {"light": b"", "dark": b""} for name in PICTURES}
    assert "not without batch norm, and well with it" in report.render_page(shown, pictures)


def test_the_benchmark_on_the_page(content):
    row = {
        "op": "layer_norm", "direction": "forward", "shape": [4096, 1024], "layout": "rows",
        "ours_ms": 1.5, "peers": {"numpy": {"ratio": 12.3, "ms": 18.0},
                                  "torch": {"ratio": 0.8, "ms": 1.2},
                                  "jax": {"ratio": None, "ms": None}},
    }  # fmt: skip
    benchmark = {"rows": [row], "settings": {"threads": 2}, "versions": {"torch": "2.0"},
                 "unavailable": {"jax": "jax is <not> installed"}, "skipped": {}}  # fmt: skip
    pictures = {name.removesuffix(".png"): {"light": b"", "dark": b""} for name in PICTURES}
    page = report.render_page({**content, "benchmark": benchmark}, pictures)
    assert "4,096 × 1,024" in page and "12×" in page and "torch 2.0" in page
    assert '<td class="loss">0.80×' in page  # losses are shown like the rest
    assert "jax is &lt;not&gt; installed" in page


def test_a_failing_benchmark_is_told_not_hidden(monkeypatch):
    from normdrop import benchmark
    from normdrop.cli.progress import make_progress
    from normdrop.experiments.demo import measure

    def failing(progress):
        raise RuntimeError("no workers today")

    monkeypatch.setattr(benchmark, "run_quick", failing)
    assert "no workers today" in measure(make_progress())["missing"]


# Endings -----------------------------------------------------------------------------------------


def test_a_missing_package_is_named_with_the_cure(monkeypatch, capsys):
    monkeypatch.setattr(command, "_is_installed", lambda module: module != "sklearn")
    assert main(["demo"]) == 1
    message = "normdrop demo: needs scikit-learn: pip install 'normdrop[demo]'\n"
    assert capsys.readouterr().err == message


def test_wrong_data_is_one_line(tmp_path, capsys):
    assert main(["demo", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "train-images-idx3-ubyte is missing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_to_is_found_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main([*SMALL, "--out", str(tmp_path / "file")]) == 1
    shown = capsys.readouterr().err
    assert "normdrop demo:" in shown and "Training" not in shown


@pytest.mark.parametrize("option", [["--seeds", "0"], ["--steps", "-1"], ["--seed", "-1"]])
def test_numbers_out_of_range_are_refused(option, capsys):
    with pytest.raises(SystemExit):
        main(["demo", *option])
    assert "or greater, got" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX systems")
def test_ctrl_c_ends_it_cleanly(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "normdrop", "demo", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job in the background of a script inherits an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as program:
        assert program.stderr.readline().startswith("Training")
        program.send_signal(signal.SIGINT)
        _, message = program.communicate(timeout=HANG_SECONDS)
    assert program.returncode == 130
    assert message.endswith("normdrop demo: interrupted; nothing was written\n")
    assert "Traceback" not in message and list((tmp_path / "out").iterdir()) == []
