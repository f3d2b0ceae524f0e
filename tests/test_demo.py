"""The demo: its files, the same numbers again, a page that stands alone, and clean endings."""

from __future__ import annotations

import base64
import copy
import html
import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import normdrop as nd
from normdrop.cli import demo as command
from normdrop.cli.main import build_parser, main
from normdrop.experiments import figures, report
from normdrop.experiments.canvas import THEMES
from normdrop.experiments.data import IDX_FILES
from normdrop.experiments.demo import file_names
from normdrop.experiments.output_folder import claim
from normdrop.experiments.sigmoid_depth import VARIANTS, Run, Settings
from programs import interruptible
from tolerances import HANG_SECONDS

pytest.importorskip("sklearn")
pytest.importorskip("rich")
pytest.importorskip("matplotlib")

SMALL = ["demo", "--quick", "--steps", "12", "--seeds", "2", "--seed", "5"]
PICTURES = ["accuracy-10.png", "accuracy-3.png", "gradients-10.png", "percentiles-10.png",
            "percentiles-3.png", "shares-10.png"]  # fmt: skip
NO_PICTURES = {name.removesuffix(".png"): {"light": b"", "dark": b""} for name in PICTURES}
CONTROL = "nothing, larger weights"
SEEN_PIXELS = 100  # of one exact colour: half a marker; none where another line covers it


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
    assert len(runs) == 2 * 6 * 2 and len(summary) == 2 * 6
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
    links = [found for found in parser.found if not found.startswith("data:image/png;base64,")]
    assert links == ["results.json"]  # beside it
    parser.found.remove("results.json")
    assert len(parser.found) == 2 * len(PICTURES)  # light and dark
    assert not re.search(r"https?:|@import|url\(|<script", page)
    embedded = {base64.b64decode(found.partition(",")[2]) for found in parser.found}
    assert {(folder / name).read_bytes() for name in PICTURES} <= embedded


def test_the_page_says_what_was_run(page):
    for said in ("1297 for training", "500 test images drawn at random with seed 5", "batch 60",
                 "learning rate 0.1", "12 steps", "standard deviation 0.1", "5, 6"):  # fmt: skip
        assert said in page


def page_with(content, **medians):
    """The page of a run in which the 10-layer networks ended at these accuracies."""
    shown = copy.deepcopy(content)
    for row in shown["results"]["summary"]:
        if row["depth"] == 10:
            row["median"] = medians.get(row["variant"].replace(" ", "_"), 0.1)
    return report.render_page(shown, NO_PICTURES)


def test_the_page_does_not_claim_what_the_numbers_do_not_show(page, content):
    assert "does not show" in page  # twelve steps teach nobody anything
    assert "does not show" in page_with(content, nothing=0.3, batch_norm=0.96)
    well = page_with(content, batch_norm=0.96)
    assert "from this initialisation (weights of standard deviation 0.1)" in well
    assert "not with nothing around the sigmoids, and well with batch norm" in well
    assert "sigmoids, and with batch norm" in page_with(content, batch_norm=0.88)


def test_few_classes_are_not_mistaken_for_guessing(content):
    for classes, plain in ((1, 1.0), (2, 0.97)):
        few = copy.deepcopy(content)
        few["settings"]["classes"] = classes
        assert "does not show" in page_with(few, nothing=plain, batch_norm=1.0)
    assert "not with nothing around the sigmoids" in page_with(few, nothing=0.55, batch_norm=0.97)


def test_the_page_says_that_the_weights_decide_where_the_control_learns(content):
    assert "not to blame" not in page_with(content, batch_norm=0.96)
    assert "it reaches 10.0 %" in page_with(content, batch_norm=0.96)
    both = page_with(content, batch_norm=0.96, **{"nothing,_larger_weights": 0.95})
    assert "not to blame: with larger weights (standard deviation 0.40) and nothing else" in both


def test_the_control_is_a_row_of_the_results_and_of_the_page(page, content):
    rows = [row for row in content["results"]["summary"] if row["variant"] == CONTROL]
    assert [row["depth"] for row in rows] == [3, 10]
    assert f"<td>{CONTROL}</td>" in page and "0.44 and then 0.40" in page


def test_what_is_said_of_layer_norm_follows_from_the_numbers(content):
    lost, kept = copy.deepcopy(content), copy.deepcopy(content)
    for shown, share in ((lost, 1e-8), (kept, 0.5)):
        for run in shown["results"]["runs"]:
            if run["variant"] == "layer norm":
                run["shares_before"][-1] = run["shares_after"][-1] = share
    said = page_with(lost)
    assert "1.0·10⁻⁸ in layer 10" in said and "all images look alike" in said
    assert "ends at 10.0 %, where guessing gives 10.0 %" in said
    assert "all images look alike" not in page_with(lost, layer_norm=0.9)
    assert "all images look alike" not in page_with(kept)
    assert "0.5 in layer 10" in page_with(kept)


def test_gradients_are_compared_only_where_they_differ(content):
    assert "of batch norm's." in report.render_page(content, NO_PICTURES)
    alike = copy.deepcopy(content)
    for run in alike["results"]["runs"]:
        run["gradients_before"] = [1.0] * len(run["gradients_before"])
    assert "of batch norm's." not in report.render_page(alike, NO_PICTURES)


def test_a_sampling_error_stands_beside_each_accuracy(page, content):
    rows = content["results"]["summary"]
    for row in rows:
        share = row["median"]
        assert row["standard_error"] == math.sqrt(share * (1 - share) / 500)
        cell = f"<td>{100 * share:.1f} ± {100 * row['standard_error']:.1f} %"
        assert cell in page
    assert "standard error √(p (1 − p) / n)" in page and "n = 500 test images" in page


def test_a_sampling_error_of_nothing_is_explained(page, content):
    assert "gives 0, which is too little" not in page
    sure = copy.deepcopy(content)
    sure["results"]["summary"][0]["standard_error"] = 0.0
    assert "gives 0, which is too little" in report.render_page(sure, NO_PICTURES)


def test_accuracies_are_percentages_everywhere(content, tmp_path, capsys):
    assert main([*SMALL, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert re.search(r"± \d\.\d %", shown.out) and re.search(r": \d+\.\d %, ", shown.err)
    assert not re.search(r"\b[01]\.\d{3}", shown.out + shown.err)
    assert content["units"]["accuracies and their standard errors"].startswith("shares of the")


# Pictures ----------------------------------------------------------------------------------------


def runs_at(accuracy):
    """Runs that all stayed at one accuracy, as those at chance level nearly do."""
    looks = list(range(51))
    level = [accuracy] * len(looks)
    return [
        Run(10, variant.label, 0, looks, level, [[0.0] * 3] * len(looks), accuracy, [], [], [], 0.0)
        for variant in VARIANTS
    ]


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_every_curve_shows_where_all_lie_on_one_another(theme):
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    drawn = imread(io.BytesIO(figures.accuracy_figure(runs_at(0.5), 10, theme)))[..., :3]
    panel = drawn[: drawn.shape[0] * 6 // 10]  # the legend is below
    for name, color in theme.series.items():
        found = np.abs(panel - to_rgb(color)).max(axis=2) < 1 / 255
        assert np.count_nonzero(found) > SEEN_PIXELS, name


def test_the_axis_of_accuracies_is_in_percent(monkeypatch):
    monkeypatch.setattr(figures, "png", lambda figure: figure)
    (plot,) = figures.accuracy_figure(runs_at(0.968), 10, THEMES["light"]).axes
    assert plot.get_ylim() == (0, 100) and plot.get_ylabel() == "test accuracy (%)"
    assert "batch norm 96.8 %" in plot.get_title(loc="left")
    assert {line.get_label() for line in plot.lines} == {variant.label for variant in VARIANTS}
    assert all(set(line.get_ydata()) == {96.8} for line in plot.lines)


# The command that repeats a run ------------------------------------------------------------------


def command_on(page):
    words = shlex.split(html.unescape(re.search(r"<code>(.*)</code>", page)[1]))
    assert words[:2] == ["normdrop", "demo"]
    return words[1:]


def test_the_command_on_the_page_repeats_the_run(page, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command_on(page)) == 0
    again = json.loads((tmp_path / "normdrop-demo" / "results.json").read_text())
    assert again["results"] == content["results"] and again["settings"] == content["settings"]
    assert again["command"] == content["command"]


@pytest.mark.parametrize(
    "options",
    [[], ["--quick"], ["--seed", "7", "--seeds", "4"], ["--steps", "9", "--data", "it's <here>"]],
)
def test_the_command_gives_the_same_settings(options, content):
    given = build_parser().parse_args(["demo", *options])
    page = report.render_page({**content, "command": command.command_of(given)}, NO_PICTURES)
    again = build_parser().parse_args(command_on(page))
    assert command.settings_from(again) == command.settings_from(given)
    assert (again.quick, again.data, again.seed) == (given.quick, given.data, given.seed)


def test_the_command_names_a_backend_that_is_not_the_default():
    args = build_parser().parse_args(["demo"])
    with nd.use_backend("baseline"):
        expected = "" if nd.backends()[0] == "baseline" else "NORMDROP_BACKEND=baseline "
        assert command.command_of(args).startswith(f"{expected}normdrop demo ")


# The benchmark -----------------------------------------------------------------------------------


def test_the_benchmark_on_the_page(content):
    row = {
        "op": "layer_norm", "direction": "forward", "shape": [4096, 1024], "layout": "rows",
        "ours_ms": 1.5, "peers": {"numpy": {"ratio": 12.3, "ms": 18.0},
                                  "torch": {"ratio": 0.8, "ms": 1.2},
                                  "jax": {"ratio": None, "ms": None}},
    }  # fmt: skip
    benchmark = {"rows": [row], "settings": {"threads": 2}, "versions": {"torch": "2.0"},
                 "unavailable": {"jax": "jax is <not> installed"}, "skipped": {},
                 "machine": {"load_average": 2.4, "processors": 2}}  # fmt: skip
    page = report.render_page({**content, "benchmark": benchmark}, NO_PICTURES)
    assert "4,096 × 1,024" in page and "12×" in page and "torch 2.0" in page
    assert '<td class="loss">0.80×' in page  # losses are shown like the rest
    assert "jax is &lt;not&gt; installed" in page and "busy" not in page
    benchmark["machine"]["load_average"] = 8.25
    page = report.render_page({**content, "benchmark": benchmark}, NO_PICTURES)
    assert "busy with other things (load 8.25 on 2 processors)" in page


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


def test_a_wrong_file_is_one_line(tmp_path, capsys):
    for name in IDX_FILES.values():
        (tmp_path / name).write_bytes(b"\0\0\x08\xff" + 255 * b"\0\0\0\1" + b"\0")
    assert main(["demo", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    path = tmp_path / "train-images-idx3-ubyte"
    assert capsys.readouterr().err == (f"normdrop demo: {path}: must have 3 dimensions, got 255\n")


def test_a_place_that_cannot_be_written_to_is_found_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    refused(tmp_path / "file", "file: not a folder", capsys)
    refused(tmp_path / "file" / "below", "below: cannot be written to: Not a directory", capsys)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody may write to")
def test_a_folder_that_takes_no_files_is_found_before_the_work(capsys):
    refused(Path("/proc"), "/proc: cannot be written to: ", capsys)


@pytest.mark.parametrize("name", ["index.html", "results.json", "shares-10.png"])
@pytest.mark.parametrize(
    "content", ["<title>mine</title>", '{"format": 1}', "notes on normdrop demo"]
)
def test_files_of_others_are_not_overwritten(name, content, tmp_path, capsys):
    (tmp_path / name).write_text(content)
    refused(tmp_path, f"{name}: not written by this program", capsys)
    assert (tmp_path / name).read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_neither_a_folder_nor_a_link_in_the_way_is_written_to(tmp_path, capsys):
    (tmp_path / "index.html").mkdir()
    refused(tmp_path, "index.html: not written by this program", capsys)
    (tmp_path / "index.html").rmdir()
    (tmp_path / "index.html").symlink_to(tmp_path / "nowhere")
    refused(tmp_path, "index.html: not written by this program", capsys)


def test_own_files_are_written_again_beside_those_of_others(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "accuracy-3.png").unlink()
    claim(tmp_path, file_names(Settings()))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def refused(out, message, capsys):
    assert main([*SMALL, "--out", str(out)]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("normdrop demo: ") and shown.count("\n") == 1
    assert message in shown


@pytest.mark.parametrize("option", [["--seeds", "0"], ["--steps", "x"], ["--seed", "-1"]])
def test_numbers_out_of_range_are_refused(option, capsys):
    with pytest.raises(SystemExit):
        main(["demo", *option])
    assert f"{option[0]}: must be an integer of" in (text := capsys.readouterr().err)
    assert text.endswith(f"or more, got '{option[1]}'\n")


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX systems")
def test_ctrl_c_ends_it_cleanly(tmp_path):
    with subprocess.Popen(
        interruptible("demo", "--out", str(tmp_path / "out")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stderr.readline().startswith("Training")
        program.send_signal(signal.SIGINT)
        _, message = program.communicate(timeout=HANG_SECONDS)
    assert program.returncode == 130
    assert message.endswith("normdrop demo: interrupted; nothing was written\n")
    assert "Traceback" not in message and list((tmp_path / "out").iterdir()) == []
