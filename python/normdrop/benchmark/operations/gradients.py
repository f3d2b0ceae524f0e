"""Backward passes of PyTorch that have no function of their own: what autograd recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from normdrop.benchmark.operations.record import Call


def by_autograd(
    torch: Any, forward: Callable[..., Any], inputs: tuple[Any, ...], grad_output: Any
) -> Call:
    """Record a forward pass once; the call is its backward pass alone, again and again."""
    with torch.enable_grad():
        leaves = tuple(tensor.detach().requires_grad_() for tensor in inputs)
        y = forward(*leaves)

    def backward(grad_output: Any) -> Any:
        return torch.autograd.grad(y, leaves, grad_output, retain_graph=True)

    return Call(backward, (grad_output,), recorded=True)
