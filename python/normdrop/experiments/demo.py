"""The demo from the images to the page: train all networks, draw, measure, write."""

from __future__ import annotations

import importlib
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import normdrop
from normdrop.experiments import figures
from normdrop.experiments.canvas import THEMES, Theme
from normdrop.experiments.data import Dataset
from normdrop.experiments.output_folder import MARK, write
from normdrop.experiments.report import render_page
from normdrop.experiments.sigmoid_depth import VARIANTS, Run, Settings, larger_scale, train
from normdrop.experiments.wording import percent, standard_error

FORMAT = 2
UNITS = {
    "accuracies and their standard errors": "shares of the images, from 0 to 1",
    "shares_before, shares_after": "shares of a variance, from 0 to 1",
    "gradients_before": "of the loss in nats",
}
PACKAGES = ("numpy", "scikit-learn", "matplotlib")


class Progress(Protocol):
    """Where the demo tells how far it is; see :mod:`normdrop.cli.progress`."""

    def stage(self, name: str, total: int) -> None:
        """Begin a new part that takes ``total`` advances."""

    def advance(self, amount: int = 1) -> None:
        """So much more is done."""

    def note(self, text: str) -> None:
        """Something worth a line of its own has been finished."""


def run_demo(
    dataset: Dataset,
    split: str,
    settings: Settings,
    folder: Path,
    progress: Progress,
    *,
    command: str,
    with_benchmark: bool = True,
) -> dict[str, Any]:
    """Train, draw, measure, and write ``index.html``, the PNGs and ``results.json``.

    Parameters
    ----------
    dataset : Dataset
        The images.
    split : str
        How they were divided, for the report.
    settings : Settings
        All else that decides the numbers.
    folder : Path
        Where to write; it must be claimed. Nothing is written before all is done.
    progress : Progress
        Told about every step.
    command : str
        What repeats the run, for the report.
    with_benchmark : bool
        False leaves the benchmark out, and the report says so.

    Returns
    -------
    dict
        The content of ``results.json``. Its ``'results'`` depend on the images and the settings
        alone (for one machine and its versions); ``'timing'`` and ``'benchmark'`` are apart.
    """
    started = time.perf_counter()
    runs = train_all(dataset, settings, progress)
    trained = time.perf_counter()
    benchmark = (
        measure(progress) if with_benchmark else {"missing": "left out, as --quick asks for"}
    )
    timing = {
        "training_seconds": round(trained - started, 2),
        "benchmark_seconds": round(time.perf_counter() - trained, 2),
        "run_seconds": [round(run.seconds, 3) for run in runs],
    }
    content = {
        "program": MARK,  # first, where output_folder looks for it
        "format": FORMAT,
        "command": command,
        "units": UNITS,
        "settings": describe_settings(dataset, split, settings),
        "results": describe_results(runs, len(dataset.test_labels)),
        "machine": describe_machine(),
        "backend": normdrop.show_config("dict")["backend"],
        "versions": describe_versions(),
        "benchmark": benchmark,
        "timing": timing,
    }
    write(folder, render(content, draw(runs, settings)))
    return content


def train_all(dataset: Dataset, settings: Settings, progress: Progress) -> list[Run]:
    """Train every depth, variant and seed, one after another, on one thread."""
    progress.stage(f"Training {settings.runs} networks", settings.runs * settings.steps)
    runs = []
    with one_thread():
        for depth in settings.depths:
            for variant in VARIANTS:
                of_variant = [
                    train(dataset, depth, variant, settings, seed, progress.advance)
                    for seed in settings.seeds
                ]
                runs += of_variant
                scores = ", ".join(percent(run.final_accuracy) for run in of_variant)
                seconds = sum(run.seconds for run in of_variant)
                progress.note(f"{depth:2} layers, {variant.label}: {scores} ({seconds:.1f} s)")
    return runs


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS and the kernels to one thread.

    Arrays this small gain nothing from a second one, which would wait at every layer for a
    processor that may be busy elsewhere. And the sums of BLAS depend on the number of its threads.
    """
    threadpoolctl: Any = importlib.import_module("threadpoolctl")  # scikit-learn brings it along
    with normdrop.num_threads(1), threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield


def measure(progress: Progress) -> dict[str, Any]:
    """Run the quick benchmark: plain types, or ``{'missing': reason}``."""
    from normdrop import benchmark

    measured = -1  # no case yet: the stage begins with the first word from the benchmark

    def tell(done: int, total: int, text: str) -> None:
        nonlocal measured
        if measured < 0:
            progress.stage("Measuring speed", total)
            measured = 0
        progress.advance(done - measured)
        if done < total:
            progress.note(text)
        measured = done

    try:
        found: dict[str, Any] = benchmark.run_quick(tell).to_dict()
    except Exception as error:  # whatever it is, the trained networks deserve their report
        progress.note(f"the benchmark failed: {error}")
        return {"missing": f"the benchmark failed: {type(error).__name__}: {error}"}
    return found


def draw(runs: list[Run], settings: Settings) -> dict[str, dict[str, bytes]]:
    """Draw all pictures; by name, then by theme."""
    first_seed = {(run.depth, run.variant): run for run in runs if run.seed == settings.seeds[0]}
    deepest = max(settings.depths)
    painters: dict[str, Callable[[Theme], bytes]] = {
        f"shares-{deepest}": partial(figures.shares_figure, runs, deepest),
        f"gradients-{deepest}": partial(figures.gradients_figure, runs, deepest),
    }
    for depth in settings.depths:
        pair = first_seed[depth, "nothing"], first_seed[depth, "batch norm"]
        painters[f"accuracy-{depth}"] = partial(figures.accuracy_figure, runs, depth)
        painters[f"percentiles-{depth}"] = partial(figures.percentile_figure, *pair)
    return {
        name: {theme_name: paint(theme) for theme_name, theme in THEMES.items()}
        for name, paint in painters.items()
    }


def file_names(settings: Settings) -> list[str]:
    """List the files that a run writes, before there is anything to draw."""
    deepest = max(settings.depths)
    pictures = [f"shares-{deepest}", f"gradients-{deepest}"]
    pictures += [f"{kind}-{d}" for d in settings.depths for kind in ("accuracy", "percentiles")]
    return ["index.html", "results.json", *(f"{name}.png" for name in pictures)]


def render(content: dict[str, Any], pictures: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    """Make the PNGs (light), the JSON, and the page that holds all pictures itself."""
    files = {f"{name}.png": themes["light"] for name, themes in pictures.items()}
    files["results.json"] = (json.dumps(content, indent=1) + "\n").encode()
    # A path on the command line may hold bytes that are no UTF-8.
    files["index.html"] = render_page(content, pictures).encode("utf-8", "xmlcharrefreplace")
    return files


def describe_settings(dataset: Dataset, split: str, settings: Settings) -> dict[str, Any]:
    """List everything the numbers depend on."""
    return {
        **settings._asdict(),
        "depths": list(settings.depths),
        "seeds": list(settings.seeds),
        "dataset": dataset.name,
        "split": split,
        "train_images": len(dataset.train_labels),
        "test_images": len(dataset.test_labels),
        "pixels": dataset.train_images.shape[1],
        "classes": dataset.classes,
        "larger_weight_scales": [
            larger_scale(inputs, settings.width)
            for inputs in (dataset.train_images.shape[1], settings.width)
        ],
        "threads": "training on one, BLAS included: the sums of BLAS depend on their number",
    }


def describe_results(runs: list[Run], test_images: int) -> dict[str, Any]:
    """Gather the curves of every run, and median and range over the seeds; no times."""
    plain = [{k: v for k, v in run._asdict().items() if k != "seconds"} for run in runs]
    summary = []
    for depth, variant in dict.fromkeys((run.depth, run.variant) for run in runs):
        scores = [r.final_accuracy for r in runs if (r.depth, r.variant) == (depth, variant)]
        median = float(np.median(scores))
        summary.append(
            {
                "depth": depth,
                "variant": variant,
                "median": median,
                "standard_error": standard_error(median, test_images),
                "lowest": min(scores),
                "highest": max(scores),
            }
        )
    return {"summary": summary, "runs": plain}


def describe_machine() -> dict[str, Any]:
    """Name processor and system."""
    from normdrop.benchmark import machine

    return machine.describe_machine()


def describe_versions() -> dict[str, str]:
    """Name the versions of what took part."""
    versions = {"Python": platform.python_version(), "normdrop": normdrop.__version__}
    return versions | {package: metadata.version(package) for package in PACKAGES}
