"""Layers with parameters and state over the functions of :mod:`normdrop.functional`.

Every layer is called as ``layer(x)`` or ``layer(x, training=False)`` and differentiated by
``layer.backward(grad_output)``; ``parameters()``, ``gradients()`` and ``state_dict()`` hold its
arrays under the names PyTorch uses. A new layer is a subclass of :class:`Layer` with two methods.
"""

from normdrop.layers.base import Layer
from normdrop.layers.batch_norm import BatchNorm
from normdrop.layers.dropout import Dropout
from normdrop.layers.group_norm import GroupNorm
from normdrop.layers.instance_norm import InstanceNorm
from normdrop.layers.layer_norm import LayerNorm
from normdrop.layers.loading import IncompatibleKeys
from normdrop.layers.noise import AlphaDropout, GaussianDropout, UniformDropout
from normdrop.layers.prelu import PReLU
from normdrop.layers.rms_norm import RMSNorm
from normdrop.layers.structured_dropout import DropPath, SpatialDropout
from normdrop.layers.weight_norm import WeightNorm

__all__ = [
    "AlphaDropout",
    "BatchNorm",
    "DropPath",
    "Dropout",
    "GaussianDropout",
    "GroupNorm",
    "IncompatibleKeys",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "PReLU",
    "RMSNorm",
    "SpatialDropout",
    "UniformDropout",
    "WeightNorm",
]
