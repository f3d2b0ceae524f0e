"""Layer norm and RMS norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from normdrop.benchmark.operations.formulas import norm
from normdrop.benchmark.operations.gradients import by_autograd
from normdrop.benchmark.operations.record import (
    BIAS,
    EPS,
    GRAD_OUTPUT,
    WEIGHT,
    Call,
    Geometry,
    OnnxNode,
    Operation,
    Traffic,
    last_size,
    row,
    row_geometry,
)

if TYPE_CHECKING:
    from normdrop.benchmark.cases import Case

NORM_TRAFFIC: Mapping[str, Traffic] = {
    "forward": Traffic(("x",), ("y",)),
    "backward": Traffic(("x", "grad_output"), ("grad_x",)),
}


def _layer_norm(nd: Any, case: Case, d: Any) -> Call:
    if case.direction == "forward":
        return Call(nd.layer_norm, (d.x, d.weight, d.bias))
    _, stats = nd.layer_norm_forward(d.x, d.weight, d.bias)
    return Call(nd.layer_norm_backward, (d.grad_output, d.x, stats, d.weight))


def _torch_layer_norm(torch: Any, case: Case, t: Any) -> Call:
    aten, shape = torch.ops.aten, [last_size(case)]
    if case.direction == "forward":
        layer_norm = torch.nn.functional.layer_norm
        return Call(lambda x, w, b: layer_norm(x, shape, w, b), (t.x, t.weight, t.bias))
    _, mean, inv_std = aten.native_layer_norm(t.x, shape, t.weight, t.bias, EPS)
    backward, wanted = aten.native_layer_norm_backward, [True, True, True]
    return Call(
        lambda g, x, m, s, w, b: backward(g, x, shape, m, s, w, b, wanted),
        (t.grad_output, t.x, mean, inv_std, t.weight, t.bias),
    )


def _rms_geometry(case: Case) -> Geometry:
    return row_geometry(case)._replace(centred=False)


def _rms_norm(nd: Any, case: Case, d: Any) -> Call:
    if case.direction == "forward":
        return Call(nd.rms_norm, (d.x, d.weight))
    _, stats = nd.rms_norm_forward(d.x, d.weight)

    def backward(grad_output: Any, x: Any, stats: Any, weight: Any, **out: Any) -> Any:
        return nd.rms_norm_backward(grad_output, x, stats, weight, bias=False, **out)

    return Call(backward, (d.grad_output, d.x, stats, d.weight))


def _torch_rms_norm(torch: Any, case: Case, t: Any) -> Call:
    shape, rms_norm = [last_size(case)], torch.nn.functional.rms_norm

    def forward(x: Any, weight: Any) -> Any:
        return rms_norm(x, shape, weight, EPS)

    if case.direction == "forward":
        return Call(forward, (t.x, t.weight))
    return by_autograd(torch, forward, (t.x, t.weight), t.grad_output)


LAYER_NORM = Operation(
    "layer_norm",
    layouts=("rows",),
    ours=_layer_norm,
    traffic=NORM_TRAFFIC,
    inputs=(WEIGHT, BIAS, GRAD_OUTPUT),
    parameters=last_size,
    reduced=row,
    peers={"torch": _torch_layer_norm, "numpy": norm(row_geometry), "jax": norm(row_geometry)},
    onnx={"forward": OnnxNode("LayerNormalization", ("weight", "bias"), {"axis": -1})},
    geometry=row_geometry,
    judged_by="rows",
)

RMS_NORM = Operation(
    "rms_norm",
    layouts=("rows",),
    ours=_rms_norm,
    traffic=NORM_TRAFFIC,
    inputs=(WEIGHT, GRAD_OUTPUT),
    parameters=last_size,
    reduced=row,
    peers={"torch": _torch_rms_norm, "numpy": norm(_rms_geometry), "jax": norm(_rms_geometry)},
    geometry=_rms_geometry,
    judged_by="rows",
)
