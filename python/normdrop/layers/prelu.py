"""Rectifier with a learned slope (He, Zhang, Ren and Sun, 2015)."""

from __future__ import annotations

from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from normdrop._arguments import integer, real_number
from normdrop._typing import AnyArray
from normdrop.functional import prelu, prelu_backward
from normdrop.layers.affine import AffineLayer
from normdrop.layers.channels import channel_count, check_channels


class PReLU(AffineLayer[AnyArray]):
    """PReLU: x where it is positive, a learned slope times x elsewhere.

    Parameters
    ----------
    num_parameters : int
        1 for one slope in all, or the number of channels.
    init : float
        What the slopes start at. Weight decay would pull them towards 0, a plain ReLU: leave them
        out of it.
    channel_axis : int
        Axis of ``x`` that counts the channels: 1 for (N, C) and NCHW, -1 for NHWC.
    dtype : dtype
        Of the weight and ``x``: float16, bfloat16, float32 or float64. With float32, ``x`` may be
        float16 or bfloat16 too.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import PReLU
    >>> PReLU()(np.array([[-2.0, 3.0]], dtype=np.float32))
    array([[-0.5,  3. ]], dtype=float32)
    """

    def __init__(
        self,
        num_parameters: SupportsIndex = 1,
        *,
        init: float = 0.25,
        channel_axis: SupportsIndex = 1,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.num_parameters = channel_count("PReLU", "num_parameters", num_parameters, least=1)
        self.channel_axis = integer("PReLU", "channel_axis", channel_axis)
        start = real_number("PReLU", "init", init)
        super().__init__((self.num_parameters,), weight=True, bias=False, dtype=dtype)
        self._parameters["weight"][...] = start

    def __repr__(self) -> str:
        return f"PReLU({self.num_parameters}, channel_axis={self.channel_axis})"

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, AnyArray]:
        self._check_x_dtype(x, self.num_parameters)
        if self.num_parameters > 1:
            check_channels("PReLU", "num_parameters", self.num_parameters, x, self.channel_axis)
        return prelu(x, self._parameters["weight"], channel_axis=self.channel_axis), x

    def _backward(self, grad_output: AnyArray, saved: AnyArray) -> AnyArray:
        weight = self._parameters["weight"]
        gradients = prelu_backward(grad_output, saved, weight, channel_axis=self.channel_axis)
        return self._keep_gradients(gradients)
