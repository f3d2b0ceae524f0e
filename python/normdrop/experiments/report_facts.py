"""The end of the demo's page: the speed of the kernels, and what was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from normdrop.experiments.report_parts import Content, scroll_table
from normdrop.experiments.wording import counted


def benchmark_section(benchmark: Mapping[str, Any]) -> str:
    """Compare with other libraries, or say why there is no comparison."""
    title = "<h2>How fast the kernels are here</h2>\n"
    if "rows" not in benchmark:
        return f"{title}<p>Not measured: {escape(benchmark['missing'])}</p>"
    peers = [
        name
        for name in benchmark["rows"][0]["peers"]
        if any(row["peers"][name]["ratio"] is not None for row in benchmark["rows"])
    ]
    head = "".join(f"<th>{escape(name)}</th>" for name in peers)
    rows = "".join(_benchmark_row(row, peers) for row in benchmark["rows"])
    absent = "; ".join(f"{name}: {why}" for name, why in benchmark["unavailable"].items())
    skipped = "; ".join(f"{name}: {why}" for name, why in benchmark["skipped"].items())
    left_out = "".join(
        f'\n<p class="note">{label}: {escape(text)}.</p>'
        for label, text in (("Not compared", absent), ("Not measured", skipped))
        if text
    )
    return (
        f"{title}<p>Each library's time over ours: above 1, ours is faster. "
        f"Everyone uses {counted(benchmark['settings']['threads'], 'thread')}; float32, "
        f"every result in fresh memory, medians of runs taken in turns.{_of_load(benchmark)}</p>\n"
        f"{scroll_table(f'<th>case</th><th>normdrop</th>{head}', rows)}{left_out}"
    )


def _of_load(benchmark: Mapping[str, Any]) -> str:
    """Say it where other programs took part; the training before counts as one."""
    machine = benchmark["machine"]
    if machine["load_average"] <= machine["processors"] + 0.5:
        return ""
    return (
        f" The machine was busy with other things (load {machine['load_average']:g} on "
        f"{counted(machine['processors'], 'processor')}), so these numbers say little: threads "
        "that wait for one another take many times as long then."
    )


def _benchmark_row(row: Mapping[str, Any], peers: Sequence[str]) -> str:
    name = f"{row['op'].replace('_', ' ')} {row['direction']}"
    shape = " × ".join(f"{size:,}" for size in row["shape"])
    if row["layout"] in ("nchw", "nhwc"):
        shape += f" {row['layout'].upper()}"
    cells = "".join(_ratio_cell(row["peers"][peer]) for peer in peers)
    return (
        f"<tr><td>{escape(name)}<br><small>{escape(shape)}</small></td>"
        f"<td>{_time(row['ours_ms'])}</td>{cells}</tr>"
    )


def _ratio_cell(cell: Mapping[str, Any]) -> str:
    ratio = cell["ratio"]
    if ratio is None:
        return "<td>–</td>"
    digits = 2 if ratio < 10 else 0
    kind = ' class="loss"' if ratio < 1 else ""
    return f"<td{kind}>{ratio:.{digits}f}×<br><small>{_time(cell['ms'])}</small></td>"


def _time(milliseconds: float) -> str:
    if milliseconds < 0.1:
        return f"{1e3 * milliseconds:.1f} µs"
    return f"{milliseconds:.3g} ms"


def settings_section(content: Content) -> str:
    """List what the numbers depend on, and the command that repeats them."""
    settings, timing = content["settings"], content["timing"]
    machine = content["machine"]
    versions = content["versions"] | {
        name: version
        for name, version in content["benchmark"].get("versions", {}).items()
        if name not in (*content["versions"], "python")
    }
    facts = {
        "images": f"{settings['dataset']}: {settings['train_images']} for training, "
        f"{settings['test_images']} for the test, values from 0 to 1",
        "split": settings["split"],
        "network": f"{' and '.join(map(str, settings['depths']))} hidden layers of "
        f"{settings['width']} sigmoid units, softmax with cross-entropy; linear, norm, sigmoid, "
        "dropout in this order; float32",
        "initialisation": f"weights normal with standard deviation {settings['weight_scale']}, "
        "biases 0; norms start as weight 1 and bias 0",
        "larger weights": "4·√(2 / (inputs + outputs)) in place of "
        f"{settings['weight_scale']} in the hidden layers, that is "
        f"{' and then '.join(f'{scale:.2f}' for scale in settings['larger_weight_scales'])}: "
        "Glorot and Bengio's, times 4 for the slope of the sigmoid",
        "training": f"{settings['steps']} steps of SGD, batch {settings['batch_size']}, "
        f"learning rate {settings['learning_rate']}, momentum {settings['momentum']}, the same "
        "for all networks; chosen by hand while looking at test accuracy, without a "
        "validation split",
        "dropout": f"a unit is dropped with probability {settings['dropout']}, after its sigmoid",
        "batch norm": "running averages, weight of the new batch 0.1, are used for the test",
        "seeds": ", ".join(map(str, settings["seeds"])),
        "curves": f"up to {settings['curve_images']} test images; the table uses all",
        "threads": settings["threads"],
        "time": f"{timing['training_seconds']:.0f} s of training, "
        f"{timing['benchmark_seconds']:.0f} s of benchmark",
        "machine": f"{machine['cpu']}, {counted(machine['processors'], 'processor')}, "
        f"{machine['system']} {machine['kernel']}, kernels: {content['backend']}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    return (
        f'<h2>What was run</h2>\n<dl class="card">{items}</dl>\n'
        '<p class="note">After section 4.1 of Ioffe and Szegedy, Batch Normalization (2015), '
        "at a smaller size. All numbers are in "
        '<a href="results.json">results.json</a> beside this page.</p>\n'
        "<p>This command, given where the first one was, repeats the run; on the same machine "
        "with the same versions it gives the same numbers, except those of time:</p>\n"
        f'<pre class="card"><code>{escape(content["command"])}</code></pre>'
    )
