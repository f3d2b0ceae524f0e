"""Every operation as one small piece of work on device arrays, for streams and graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import normdrop as nd
from gpu_check.card import DryCard

Work = Callable[[], tuple[Any, ...]]
P = 0.3


@dataclass(frozen=True)
class Operations:
    """Works on one x: by name, each returning its results; and x, whose values may change."""

    x: Any
    works: dict[str, Work]
    draw: Any


def make_operations(card: DryCard, shape: tuple[int, int], seed: int) -> Operations:
    """Put the arrays on the device and close every operation over them."""
    generator = np.random.default_rng(seed)

    def put(*size: int) -> Any:
        return card.put(generator.standard_normal(size, dtype=np.float32))

    x, grad = put(*shape), put(*shape)
    weight, bias = put(shape[1]), put(shape[1])
    running_mean, running_var = put(shape[1]), card.put(np.ones(shape[1], np.float32))
    draw = card.new_draw(7, 0)

    def layer_norm() -> tuple[Any, ...]:
        y, stats = nd.layer_norm_forward(x, weight, bias)
        return y, *stats, *nd.layer_norm_backward(grad, x, stats, weight)

    def batch_norm() -> tuple[Any, ...]:
        y, stats = nd.batch_norm_forward(x, weight, bias)
        gradients = nd.batch_norm_backward(grad, x, stats, weight)
        return y, stats.mean, stats.var, stats.inv_std, *gradients

    def batch_norm_inference() -> tuple[Any, ...]:
        return (nd.batch_norm(x, running_mean, running_var, weight, bias),)

    def dropout() -> tuple[Any, ...]:
        y, mask = nd.dropout_forward(x, P, rng=card.rng(draw))
        return y, nd.dropout_backward(grad, mask)

    works = {
        "layer norm": layer_norm,
        "batch norm": batch_norm,
        "batch norm, inference": batch_norm_inference,
        "dropout": dropout,
    }
    return Operations(x, works, draw)
