"""onnxruntime: a model of one node, weights stored in it, run on NumPy arrays."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from normdrop.benchmark.cases import NORMS_AT_INFERENCE_ONLY, Case
from normdrop.benchmark.data import CaseData
from normdrop.benchmark.operations import EPS, operation_of
from normdrop.benchmark.peers import Unsupported, Work

# The versions that brought LayerNormalization; old enough for any runtime of today.
_OPSET = 17
_IR_VERSION = 8


def create(threads: int) -> OnnxRuntimePeer:
    """Make the adapter, limited to so many threads."""
    return OnnxRuntimePeer(threads)


class OnnxRuntimePeer:
    """Default session settings but for the number of threads."""

    def __init__(self, threads: int) -> None:
        self.onnx: Any = importlib.import_module("onnx")
        self.runtime: Any = importlib.import_module("onnxruntime")
        self.threads = threads

    def version(self) -> str:
        """Tell the version of the library."""
        return str(self.runtime.__version__)

    def drop_caches(self) -> None:
        """Do nothing: outputs belong to NumPy; the session's arena holds no results."""

    def prepare(self, case: Case, data: CaseData) -> Work:
        """Build the work of a case."""
        if "onnxruntime" not in case.peers:
            raise Unsupported(NORMS_AT_INFERENCE_ONLY)
        if case.layout == "nhwc":
            raise Unsupported("BatchNormalization takes channels first only")
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        model = self._model(case, data).SerializeToString()
        session = self.runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return Work(partial(session.run, None, {"x": data.x}), tuple)

    def _model(self, case: Case, data: CaseData) -> Any:
        helper, numpy_helper = self.onnx.helper, self.onnx.numpy_helper
        described = operation_of(case).onnx[case.direction]
        parameters = {name: getattr(data, name) for name in described.inputs}
        node = helper.make_node(
            described.name, ["x", *parameters], ["y"], epsilon=EPS, **described.attributes
        )
        element = helper.np_dtype_to_tensor_dtype(data.x.dtype)
        values = [
            helper.make_tensor_value_info(name, element, case.memory_shape) for name in ("x", "y")
        ]
        constants = [numpy_helper.from_array(value, name) for name, value in parameters.items()]
        graph = helper.make_graph([node], "one_norm", values[:1], values[1:], constants)
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
