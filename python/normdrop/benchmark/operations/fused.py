"""Dropout, residual add and norm in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from normdrop.benchmark.operations.gradients import by_autograd
from normdrop.benchmark.operations.noise import RNG, SCALE
from normdrop.benchmark.operations.record import (
    BIAS,
    DROP_PROBABILITY,
    EPS,
    GRAD_OUTPUT,
    WEIGHT,
    Builder,
    Call,
    Input,
    Operation,
    Traffic,
    last_size,
    row,
)

if TYPE_CHECKING:
    from normdrop.benchmark.cases import Case

_RESIDUAL = Input("residual", 0.0, 1.0, like_x=True)
_TRAFFIC = {
    "forward": Traffic(("x", "residual"), ("sum", "y")),
    "backward": Traffic(("grad_output", "sum"), ("grad_x", "grad_residual")),
}


def _ours(name: str, *, with_bias: bool) -> Builder:
    def build(nd: Any, case: Case, d: Any) -> Call:
        forward_function = getattr(nd, f"{name}_forward")
        backward_function = getattr(nd, f"{name}_backward")

        def forward(x: Any, residual: Any, *parameters: Any) -> Any:
            return forward_function(x, residual, *parameters, p=DROP_PROBABILITY, rng=RNG)

        arguments = (d.x, d.residual, d.weight, *((d.bias,) if with_bias else ()))
        if case.direction == "forward":
            return Call(forward, arguments)
        return Call(
            lambda g, fused, weight: backward_function(g, fused, weight, bias=with_bias),
            (d.grad_output, forward(*arguments), d.weight),
        )

    return build


def _torch_layer_norm(torch: Any, case: Case, t: Any) -> Call:
    """Build dropout, sum and norm, one after the other; backward as autograd calls them."""
    aten, functional, shape = torch.ops.aten, torch.nn.functional, [last_size(case)]

    def forward(x: Any, residual: Any, weight: Any, bias: Any) -> Any:
        total = residual + functional.dropout(x, DROP_PROBABILITY, training=True)
        return functional.layer_norm(total, shape, weight, bias, EPS), total

    if case.direction == "forward":
        return Call(forward, (t.x, t.residual, t.weight, t.bias))
    dropped, mask = aten.native_dropout(t.x, DROP_PROBABILITY, True)
    total = t.residual + dropped
    _, mean, inv_std = aten.native_layer_norm(total, shape, t.weight, t.bias, EPS)

    def backward(g: Any, x: Any, m: Any, s: Any, w: Any, b: Any, keep: Any) -> Any:
        grad_sum, *parameters = aten.native_layer_norm_backward(
            g, x, shape, m, s, w, b, [True, True, True]
        )
        return aten.native_dropout_backward(grad_sum, keep, SCALE), grad_sum, *parameters

    return Call(backward, (t.grad_output, total, mean, inv_std, t.weight, t.bias, mask))


def _torch_rms_norm(torch: Any, case: Case, t: Any) -> Call:
    functional, shape = torch.nn.functional, [last_size(case)]

    def forward(x: Any, residual: Any, weight: Any) -> Any:
        total = residual + functional.dropout(x, DROP_PROBABILITY, training=True)
        return functional.rms_norm(total, shape, weight, EPS), total

    arguments = (t.x, t.residual, t.weight)
    if case.direction == "forward":
        return Call(forward, arguments)
    return by_autograd(torch, lambda *inputs: forward(*inputs)[0], arguments, t.grad_output)


DROPOUT_ADD_LAYER_NORM = Operation(
    "dropout_add_layer_norm",
    layouts=("rows",),
    ours=_ours("dropout_add_layer_norm", with_bias=True),
    traffic=_TRAFFIC,
    inputs=(WEIGHT, BIAS, _RESIDUAL, GRAD_OUTPUT),
    parameters=last_size,
    reduced=row,
    peers={"torch": _torch_layer_norm},
    without_out=("forward", "backward"),
)

DROPOUT_ADD_RMS_NORM = Operation(
    "dropout_add_rms_norm",
    layouts=("rows",),
    ours=_ours("dropout_add_rms_norm", with_bias=False),
    traffic=_TRAFFIC,
    inputs=(WEIGHT, _RESIDUAL, GRAD_OUTPUT),
    parameters=last_size,
    reduced=row,
    peers={"torch": _torch_rms_norm},
    without_out=("forward", "backward"),
)
