"""Sigmoid networks of 3 and of 10 hidden layers, with and without normalisation.

After section 4.1 of Ioffe and Szegedy (2015), at a size that trains in seconds: the test accuracy
against the step, the percentiles of one input to the last hidden sigmoid over time, and how much
of the difference between images reaches each layer. A control starts from larger weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from normdrop.experiments.data import Dataset, Images, batches
from normdrop.experiments.network import (
    Linear,
    MomentumSGD,
    Sequential,
    Sigmoid,
    accuracy,
    softmax_cross_entropy,
)
from normdrop.experiments.reach import Reach, measure_reach
from normdrop.layers import BatchNorm, Dropout, Layer, LayerNorm

PERCENTILES = (15, 50, 85)


class Variant(NamedTuple):
    """What stands around each sigmoid: a norm before it, dropout after it.

    The control has neither, and starts from larger weights.

    Attributes
    ----------
    label : str
        For people to read.
    norm : {'', 'batch', 'layer'}
        Normalisation of the sigmoid's input.
    dropout : bool
        Whether the sigmoid's output is dropped.
    larger_weights : bool
        Whether hidden layers start at :func:`larger_scale` in place of ``weight_scale``.
    """

    label: str
    norm: str
    dropout: bool
    larger_weights: bool = False


VARIANTS = (
    Variant("nothing", "", False),
    Variant("nothing, larger weights", "", False, larger_weights=True),
    Variant("batch norm", "batch", False),
    Variant("layer norm", "layer", False),
    Variant("dropout", "", True),
    Variant("batch norm + dropout", "batch", True),
)


class Settings(NamedTuple):
    """All that decides the numbers, apart from the images.

    Attributes
    ----------
    depths : tuple of int
        Numbers of hidden layers.
    width : int
        Units in each of them.
    batch_size, steps, learning_rate, momentum
        Of stochastic gradient descent.
    weight_scale : float
        Standard deviation of the initial weights, except in the control's hidden layers.
    dropout : float
        Probability of dropping a unit.
    seeds : tuple of int
        One run each; a seed gives the initial weights, the order of the images and the masks.
    evaluations : int
        How often a run is looked at.
    curve_images : int
        How many test images those looks use at most; the final accuracy uses all.
    """

    depths: tuple[int, ...] = (3, 10)
    width: int = 100
    batch_size: int = 60
    steps: int = 1500
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_scale: float = 0.1
    # Ten layers of noise add up: with 0.2 the deep network with batch norm ends near 0.5.
    dropout: float = 0.1
    seeds: tuple[int, ...] = (0, 1, 2)
    evaluations: int = 50
    curve_images: int = 1000

    @property
    def runs(self) -> int:
        """Number of networks to train."""
        return len(self.depths) * len(VARIANTS) * len(self.seeds)


class Run(NamedTuple):
    """One trained network.

    Attributes
    ----------
    depth, variant, seed
        Which one.
    steps : list of int
        When it was looked at.
    accuracy : list of float
        Test accuracy then.
    percentiles : list of list of float
        15th, 50th and 85th percentile then, over test images, of one input to the last sigmoid.
    final_accuracy : float
        On all test images, after the last step.
    shares_before, shares_after : list of float
        Of each hidden layer, before the first step and after the last: how much of the variance
        of the sigmoids' inputs lies between images. Empty with dropout, whose noise differs
        between images as well.
    gradients_before : list of float
        Root mean square of the gradient of each hidden layer's weights, before the first step.
    seconds : float
        How long it took.
    """

    depth: int
    variant: str
    seed: int
    steps: list[int]
    accuracy: list[float]
    percentiles: list[list[float]]
    final_accuracy: float
    shares_before: list[float]
    shares_after: list[float]
    gradients_before: list[float]
    seconds: float


def larger_scale(inputs: int, outputs: int) -> float:
    """Compute a standard deviation of weights with which a sigmoid passes differences on.

    That of Glorot and Bengio (2010) keeps variances where the slope is 1; a sigmoid has 1/4 at 0,
    so it is taken 4 times.

    >>> larger_scale(100, 100)
    0.4
    """
    return 4.0 * math.sqrt(2.0 / (inputs + outputs))


def build_network(
    pixels: int, classes: int, depth: int, variant: Variant, settings: Settings, seed: int
) -> Sequential:
    """Stack linear, norm, sigmoid, dropout ``depth`` times, and a linear layer at the end.

    Parameters
    ----------
    pixels, classes : int
        Sizes of the input and the output.
    depth : int
        Number of hidden layers.
    variant : Variant
        What stands around each sigmoid.
    settings : Settings
        Width, scale of the weights and probability of dropping.
    seed : int
        Variants with equal seeds start from equal weights; the control's are the same draws,
        scaled.
    """
    rng = np.random.default_rng([seed, 0])
    scale = settings.weight_scale
    layers: list[Layer[Any]] = []
    for index in range(depth):
        inputs = pixels if index == 0 else settings.width
        # A batch norm takes a bias before it out again.
        bias = variant.norm != "batch"
        hidden_scale = larger_scale(inputs, settings.width) if variant.larger_weights else scale
        layers.append(Linear(inputs, settings.width, rng, scale=hidden_scale, bias=bias))
        if variant.norm == "batch":
            layers.append(BatchNorm(settings.width))
        elif variant.norm == "layer":
            layers.append(LayerNorm(settings.width))
        layers.append(Sigmoid())
        if variant.dropout:
            # Drawn from a generator of its own, so that the weights stay those of the others.
            layers.append(Dropout(settings.dropout, rng=np.random.default_rng([seed, 1, index])))
    layers.append(Linear(settings.width, classes, rng, scale=scale))
    return Sequential(*layers)


def train(
    dataset: Dataset,
    depth: int,
    variant: Variant,
    settings: Settings,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> Run:
    """Train one network and watch it.

    Parameters
    ----------
    dataset : Dataset
        The images.
    depth, variant, settings, seed
        As :func:`build_network` takes them.
    on_step : callable
        Called after each step.
    """
    started = time.perf_counter()
    pixels = dataset.train_images.shape[1]
    network = build_network(pixels, dataset.classes, depth, variant, settings, seed)
    optimiser = MomentumSGD(network, settings.learning_rate, settings.momentum)
    supply = _supply(dataset, settings, seed)
    shown = dataset.test_images[: settings.curve_images]
    labels = dataset.test_labels[: settings.curve_images]
    # A network of its own, because the measurement touches the running statistics.
    untrained = build_network(pixels, dataset.classes, depth, variant, settings, seed)
    before = _reach(untrained, dataset, variant, settings, seed)
    run = Run(depth, variant.label, seed, [], [], [], 0.0, before.shares, [], before.gradients, 0.0)
    looks = set(evaluation_steps(settings))
    for step in range(settings.steps + 1):
        if step in looks:
            logits, percentiles = look(network, shown)
            run.steps.append(step)
            run.accuracy.append(accuracy(logits, labels))
            run.percentiles.append(percentiles)
        if step < settings.steps:
            train_step(network, optimiser, *next(supply))
            on_step()
    final = accuracy(network(dataset.test_images, training=False), dataset.test_labels)
    return run._replace(
        final_accuracy=final,
        shares_after=_reach(network, dataset, variant, settings, seed).shares,
        seconds=time.perf_counter() - started,
    )


def _supply(
    dataset: Dataset, settings: Settings, seed: int
) -> Iterator[tuple[Images, npt.NDArray[np.int64]]]:
    return batches(dataset, settings.batch_size, np.random.default_rng([seed, 2]))


def _reach(
    network: Sequential, dataset: Dataset, variant: Variant, settings: Settings, seed: int
) -> Reach:
    """Measure with the batch of the first step."""
    if variant.dropout:
        return Reach([], [])
    return measure_reach(network, *next(_supply(dataset, settings, seed)))


def train_step(
    network: Sequential, optimiser: MomentumSGD, images: Images, labels: npt.NDArray[np.int64]
) -> float:
    """Take one step of descent on one batch; return its loss."""
    loss, grad_logits = softmax_cross_entropy(network(images, training=True), labels)
    network.backward(grad_logits)
    optimiser.step()
    return loss


def look(network: Sequential, images: Images) -> tuple[npt.NDArray[np.float32], list[float]]:
    """Compute logits at inference, and the percentiles of input 0 to the last hidden sigmoid."""
    last = max(i for i, layer in enumerate(network.layers) if isinstance(layer, Sigmoid))
    pre_activation = network[:last](images, training=False)
    logits = network[last:](pre_activation, training=False)
    return logits, [float(value) for value in np.percentile(pre_activation[:, 0], PERCENTILES)]


def evaluation_steps(settings: Settings) -> list[int]:
    """List evenly spaced steps, the first (before any training) and the last among them."""
    spaced = np.linspace(0, settings.steps, settings.evaluations + 1)
    return sorted({round(float(step)) for step in spaced})
