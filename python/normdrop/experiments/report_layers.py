"""The section of the demo's page on what becomes of the images from layer to layer."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

import numpy as np

from normdrop.experiments.report_parts import Content, Pictures, figure, scroll_table, summary_of
from normdrop.experiments.sigmoid_depth import VARIANTS
from normdrop.experiments.wording import is_guessing, percent, scientific

LOST = 1e-3  # a share of the variance below this counts as lost
FAR = 10.0  # a gradient smaller by this factor is worth a sentence
RAISED = 10.0  # a share that grew by this factor counts as raised by the training


class Ends(NamedTuple):
    """One variant in the first and in the last hidden layer: medians over the seeds.

    Attributes
    ----------
    first, last : float
        Share of the variance between images, before the first step.
    trained : float
        That of the last layer, after the last step.
    gradient : float
        Root mean square of the gradient of the first layer's weights, before the first step.
    accuracy : float
        On all test images, after the last step.
    """

    first: float
    last: float
    trained: float
    gradient: float
    accuracy: float


def layers_section(content: Content, pictures: Pictures) -> str:
    """Show how far the differences between images reach up, and the gradient down."""
    settings = content["settings"]
    depth = max(settings["depths"])
    shown = {v.label: ends(content, depth, v.label) for v in VARIANTS if not v.dropout}
    head = "".join(
        f"<th>{escape(text)}</th>"
        for text in (
            "around each sigmoid",
            "share, layer 1",
            f"layer {depth}",
            f"layer {depth}, trained",
            "gradient, layer 1",
            "accuracy",
        )
    )
    rows = "".join(_row(name, found) for name, found in shown.items())
    figures = figure(
        pictures[f"shares-{depth}"], f"Share of the variance between images, {depth} hidden layers"
    ) + figure(pictures[f"gradients-{depth}"], f"Gradient of the weights, {depth} hidden layers")
    return (
        f"<h2>What reaches layer {depth}, and what comes back</h2>\n"
        "<p>The inputs of a layer's sigmoids vary from image to image and from unit to unit. The "
        "share of this variance that lies between images is what tells them apart; the rest is a "
        "pattern over the units that all images have in common. Batch norm scales each unit over "
        "the images of a batch, and so begins with a share near 1. Layer norm scales the units of "
        "one image, and so keeps the common pattern. Both pictures are of the batch of the first "
        f"step, {settings['batch_size']} images, and medians over the seeds; variants with "
        "dropout are left out, because its noise differs between images as well.</p>\n"
        f"<p>{_layer_norm(shown['layer norm'], shown['batch norm'], depth, content)} "
        f"{_larger_weights(shown['nothing, larger weights'], depth)}</p>\n"
        f'<div class="grid">{figures}</div>\n<p class="note">In numbers, before the first step '
        f"unless it says trained:</p>\n{scroll_table(head, rows)}"
    )


def ends(content: Content, depth: int, variant: str) -> Ends:
    """Gather what one variant shows in its first and its last hidden layer."""
    runs = [
        run
        for run in content["results"]["runs"]
        if (run["depth"], run["variant"]) == (depth, variant)
    ]
    before = np.median([run["shares_before"] for run in runs], axis=0)
    after = np.median([run["shares_after"] for run in runs], axis=0)
    gradients = np.median([run["gradients_before"] for run in runs], axis=0)
    accuracy = summary_of(content, depth, variant)["median"]
    return Ends(before[0], before[-1], after[-1], gradients[0], accuracy)


def _row(name: str, found: Ends) -> str:
    numbers = "".join(f"<td>{scientific(number)}</td>" for number in found[:-1])
    return f"<tr><td>{escape(name)}</td>{numbers}<td>{percent(found.accuracy)}</td></tr>"


def _layer_norm(layer: Ends, batch: Ends, depth: int, content: Content) -> str:
    """Say what the numbers show of layer norm, and no more."""
    classes = content["settings"]["classes"]
    said = (
        f"With layer norm the share is {scientific(layer.first)} in layer 1 and "
        f"{scientific(layer.last)} in layer {depth}, with batch norm "
        f"{scientific(batch.last)} there."
    )
    if 0.0 < FAR * layer.gradient < batch.gradient:
        said += (
            " The gradient that comes back to layer 1 is "
            f"1/{batch.gradient / layer.gradient:,.0f} of batch norm's."
        )
    if layer.last < LOST and layer.trained < LOST and is_guessing(layer.accuracy, classes):
        said += (
            " To the last layer all images look alike, and training does not change that "
            f"(share {scientific(layer.trained)} at its end): layer norm ends at "
            f"{percent(layer.accuracy)}, where guessing gives {percent(1 / classes)}."
        )
    else:
        said += (
            f" After the training it is {scientific(layer.trained)} with layer norm, and "
            f"{percent(layer.accuracy)} of the test images are recognised."
        )
    return said


def _larger_weights(found: Ends, depth: int) -> str:
    said = (
        f"With larger weights and nothing else the share in layer {depth} is "
        f"{scientific(found.last)} at the start"
    )
    if found.last < LOST and found.trained > RAISED * found.last:
        return f"{said}; that is little too, but training raises it to {scientific(found.trained)}."
    return f"{said} and {scientific(found.trained)} at the end."
