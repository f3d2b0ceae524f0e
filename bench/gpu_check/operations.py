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

    def rms_norm() -> tuple[Any, ...]:
        y, stats = nd.rms_norm_forward(x, weight)
        return y, stats.inv_std, nd.rms_norm_backward(grad, x, stats, weight).x

    def group_norm() -> tuple[Any, ...]:
        y, stats = nd.group_norm_forward(x, 1, weight, bias)
        return y, *stats, *nd.group_norm_backward(grad, x, stats, 1, weight)

    def weight_norm() -> tuple[Any, ...]:
        w, norm = nd.weight_norm_forward(x, weight, axis=1)
        return w, norm, *nd.weight_norm_backward(grad, x, weight, norm, axis=1)

    def prelu() -> tuple[Any, ...]:
        gradients = nd.prelu_backward(grad, x, weight)
        return nd.prelu(x, weight), gradients.x, gradients.weight

    def residual_add() -> tuple[Any, ...]:
        fused = nd.dropout_add_layer_norm_forward(x, grad, weight, bias, p=P, rng=card.rng(draw))
        gradients = nd.dropout_add_layer_norm_backward(grad, fused, weight)
        return fused.y, fused.sum, gradients.x, gradients.residual, gradients.weight

    def gaussian_dropout() -> tuple[Any, ...]:
        y, mask = nd.gaussian_dropout_forward(x, P, rng=card.rng(draw))
        return y, nd.gaussian_dropout_backward(grad, mask)

    def dropout() -> tuple[Any, ...]:
        y, mask = nd.dropout_forward(x, P, rng=card.rng(draw))
        return y, nd.dropout_backward(grad, mask)

    works = {
        "layer norm": layer_norm,
        "batch norm": batch_norm,
        "batch norm, inference": batch_norm_inference,
        "rms norm": rms_norm,
        "group norm": group_norm,
        "weight norm": weight_norm,
        "prelu": prelu,
        "dropout, add and layer norm": residual_add,
        "gaussian dropout": gaussian_dropout,
        "dropout": dropout,
    }
    return Operations(x, works, draw)
