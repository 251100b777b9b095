"""What is not quantized for a card computes in fp16, but for normalisations and what lies outside the layers.

ONNX Runtime's converter gives two casts the same name where fp16 and fp32 alternate, hence this one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_ad.calibration.layers import between_layers
from edge_ad.export.quantize_write import sort_nodes

#: Operators that stay in fp32: they sum up many numbers.
FULL = (
    "InstanceNormalization", "LayerNormalization", "GroupNormalization", "ReduceMean", "ReduceSum", "Range", "TopK",
    "Constant", "ConstantOfShape",
)  # fmt: skip
#: Inputs of a type of their own, by operator.
_OWN = {"Resize": (2,)}
_ANY = ("Shape", "Size")


def half_model(model: Any, plain: Any) -> Any:
    """`model` in fp16, its inputs and outputs as they were; `model` itself is changed and returned.

    plain: the same model without Q/DQ nodes, which says what lies before the first and behind the last layer: pixel
    scaling, the sines of the timestep and the solver's arithmetic stay in fp32, as in a model exported in fp16.
    """
    from onnx import TensorProto, helper, numpy_helper

    kept = {node.name for node in plain.graph.node} - between_layers(plain)
    floats = _floats(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    halves: set[str] = set()  # float tensors that are in fp16 now
    made: dict[tuple[str, bool], str] = {}
    casts = []

    def as_type(name: str, half: bool) -> str:
        if (name in halves) == half:
            return name
        if (name, half) not in made:
            other = f"{name}_{'half' if half else 'full'}"
            if name in constants:
                values = np.clip(numpy_helper.to_array(constants[name]), -65504, 65504).astype(np.float16)
                model.graph.initializer.append(numpy_helper.from_array(values, other))
            else:
                kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
                casts.append(helper.make_node("Cast", [name], [other], name=f"{other}_Cast", to=kind))
            made[name, half] = other
        return made[name, half]

    for node in model.graph.node:
        half = node.name not in kept and node.op_type not in FULL
        if node.op_type not in _ANY:
            for i, name in enumerate(node.input):
                if name in floats and i not in _OWN.get(node.op_type, ()):
                    node.input[i] = as_type(name, half)
        if half and node.op_type == "Cast":
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.FLOAT16
        if half:
            halves.update(name for name in node.output if name in floats)
    for value in model.graph.output:
        if value.name in halves:  # a layer's own output
            for node in model.graph.node:
                for names in (node.input, node.output):
                    for i, name in enumerate(names):
                        if name == value.name:
                            names[i] = f"{value.name}_inner"
            casts.append(helper.make_node("Cast", [f"{value.name}_inner"], [value.name], to=TensorProto.FLOAT))
    model.graph.node.extend(casts)
    used = {name for node in model.graph.node for name in node.input}
    remaining = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(remaining)
    model.graph.ClearField("value_info")
    sort_nodes(model)
    return model


def _floats(model: Any) -> set[str]:
    """Names of all fp32 tensors. Shapes are inferred without the weights, since a message holds 2 GB at most."""
    import onnx

    light = onnx.ModelProto()
    light.CopyFrom(model)
    light.graph.ClearField("value_info")
    for tensor in light.graph.initializer:
        if len(tensor.raw_data) > 4096:
            tensor.ClearField("raw_data")
    graph = onnx.shape_inference.infer_shapes(light).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    kinds.update({tensor.name: tensor.data_type for tensor in graph.initializer})
    return {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT}
