"""``normdrop demo``: train networks on real digits, and write a page about it."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normdrop.cli.arguments import integer
from normdrop.cli.ending import INTERRUPTED, CommandError
from normdrop.experiments.wording import percent, printable, spread

if TYPE_CHECKING:
    from normdrop.experiments.data import Dataset
    from normdrop.experiments.sigmoid_depth import Settings

NEEDED = {"sklearn": "scikit-learn", "rich": "rich", "matplotlib": "matplotlib"}
QUICK_STEPS = 300
DEFAULT_SEEDS = 3


def add_parser(subparsers: Any) -> None:
    """Add the ``demo`` command to the program's commands."""
    parser = subparsers.add_parser(
        "demo",
        help="train sigmoid networks with and without batch norm, and write a page about it",
        description="Train sigmoid networks of 3 and of 10 hidden layers on handwritten digits "
        "with nothing, batch norm, layer norm, dropout, and batch norm with dropout, and with "
        "nothing from larger weights, measure the speed of the kernels here, and write a page with "
        "the results.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("normdrop-demo"),
        metavar="FOLDER",
        help="where to write index.html, pictures and results.json; files there that the demo "
        "did not write are never touched (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="the four IDX files of MNIST or Fashion-MNIST, plain or .gz, "
        "in place of scikit-learn's digits",
    )
    parser.add_argument(
        "--seed", type=integer(0), default=0, metavar="N", help="first seed (default: %(default)s)"
    )
    parser.add_argument(
        "--seeds", type=integer(1), metavar="K", help=f"how many seeds (default: {DEFAULT_SEEDS})"
    )
    parser.add_argument("--steps", type=integer(1), metavar="N", help="training steps of a network")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"one seed, {QUICK_STEPS} steps and no benchmark, unless told otherwise",
    )
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    missing = [name for module, name in NEEDED.items() if not _is_installed(module)]
    if missing:
        raise CommandError(f"needs {' and '.join(missing)}: pip install 'normdrop[demo]'")
    from normdrop.experiments.data import DataError

    try:
        return _run(args)
    except KeyboardInterrupt:
        print("normdrop demo: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    except DataError as error:
        raise CommandError(printable(str(error))) from None


def settings_from(args: argparse.Namespace) -> Settings:
    """Apply the arguments to the defaults of the experiment."""
    from normdrop.experiments.sigmoid_depth import Settings

    settings = Settings()
    steps = args.steps or (QUICK_STEPS if args.quick else settings.steps)
    count = args.seeds or (1 if args.quick else DEFAULT_SEEDS)
    return settings._replace(steps=steps, seeds=tuple(range(args.seed, args.seed + count)))


def command_of(args: argparse.Namespace) -> str:
    """Write the command that repeats a run, with the numbers it took."""
    import normdrop

    settings = settings_from(args)
    words = ["normdrop", "demo", "--seed", str(args.seed), "--seeds", str(len(settings.seeds))]
    words += ["--steps", str(settings.steps)]
    words += ["--quick"] if args.quick else []
    words += ["--data", str(args.data)] if args.data is not None else []
    backend = normdrop.show_config("dict")["backend"]
    # Backends may round the last place differently, and training makes much of little.
    chosen = "" if backend == normdrop.backends()[0] else f"NORMDROP_BACKEND={backend} "
    return chosen + shlex.join(words)


def _run(args: argparse.Namespace) -> int:
    from normdrop.cli.progress import make_progress
    from normdrop.experiments.demo import file_names, run_demo
    from normdrop.experiments.output_folder import claim

    settings = settings_from(args)
    dataset, split = _load(args)
    # Before the work, so that a place that cannot be written to is found out at once.
    claim(args.out, file_names(settings))
    with make_progress() as progress:
        content = run_demo(
            dataset,
            split,
            settings,
            args.out,
            progress,
            command=command_of(args),
            with_benchmark=not args.quick,
        )
    _show(content)
    print(f"\nThe page: {printable(str((args.out / 'index.html').resolve()))}")
    return 0


def _load(args: argparse.Namespace) -> tuple[Dataset, str]:
    """Load the images, and say how they were divided."""
    from normdrop.experiments.data import load_digits, load_idx_folder

    if args.data is not None:
        return load_idx_folder(args.data), "as the files have it"
    dataset = load_digits(args.seed)
    return dataset, f"{len(dataset.test_labels)} test images drawn at random with seed {args.seed}"


def _show(content: dict[str, Any]) -> None:
    """Print the table of the page."""
    settings = content["settings"]
    print(
        f"\nTest accuracy after {settings['steps']} steps: median ± standard error of "
        f"{settings['test_images']} test images (lowest to highest of the seeds)"
    )
    print(" " * 24 + "".join(f"{depth} layers".rjust(32) for depth in settings["depths"]))
    cells: dict[str, list[str]] = {}
    for row in content["results"]["summary"]:
        middle = percent(row["median"], row["standard_error"])
        lowest, highest = row["lowest"], row["highest"]
        seeds = f" ({spread(lowest, highest)})" if lowest < highest else ""
        cells.setdefault(row["variant"], []).append(middle + seeds)
    for variant, texts in cells.items():
        print(f"{variant:<24}" + "".join(f"{text:>32}" for text in texts))


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
