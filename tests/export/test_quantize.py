"""Q/DQ graphs against plain NumPy, against ONNX Runtime's kernels, and a bundle quantized end to end."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

onnx = pytest.importorskip("onnx", reason="needs the export extra")
import onnxruntime as ort  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edge_ad.bundle import Calibration, Weights  # noqa: E402
from edge_ad.bundle_files import Bundle, read_manifest, write_manifest  # noqa: E402
from edge_ad.calibration.chosen import chosen_before  # noqa: E402
from edge_ad.calibration.layers import between_layers, find_layers, kept_by_rule, observed_tensors  # noqa: E402
from edge_ad.calibration.ranges import bundle_ranges, check_ranges  # noqa: E402
from edge_ad.calibration.write import calibration_files  # noqa: E402
from edge_ad.cli import run  # noqa: E402
from edge_ad.export import quantize as quantizing  # noqa: E402
from edge_ad.export.quantize_check import correlation  # noqa: E402
from edge_ad.export.quantize_half import half_model  # noqa: E402
from edge_ad.export.quantize_scheme import E4M3_MAX, Scheme  # noqa: E402
from edge_ad.export.quantize_sensitivity import SwitchedGraph, choose_layers, relative_error  # noqa: E402
from edge_ad.export.quantize_write import SWITCH, quantized_model, switched_model  # noqa: E402
from edge_ad.runtime import Detector  # noqa: E402
from edge_ad.runtime.sessions import onnx as onnx_session  # noqa: E402

CPU, CARD, FP8 = Scheme("int8", "cpu"), Scheme("int8", "tensorrt"), Scheme("fp8", "tensorrt")
SCHEMES = pytest.mark.parametrize("scheme", [CPU, CARD, FP8], ids=["cpu", "tensorrt", "fp8"])
limits = st.tuples(st.floats(-100, 0), st.floats(0, 100))


@settings(max_examples=60, deadline=None)
@given(limits, st.sampled_from([CPU, CARD]))
def test_every_value_in_range_comes_back_within_half_a_step(ends, scheme):
    scale, zero = scheme.activation(ends)
    values = np.linspace(*ends, 101)
    info = np.iinfo(scheme.dtype)
    codes = np.clip(np.rint(values / scale) + zero, info.min, info.max)
    assert np.abs((codes - zero) * scale - values).max() <= scale * (0.5 if scheme is CARD else 1.0) + 1e-6
    assert info.min <= zero <= info.max
    assert (0 - 0) * scale == 0  # zero is a code of its own


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0, 1]), st.sampled_from([np.float32, np.float16]))
def test_int8_weights_are_off_by_half_a_step_of_their_channel(seed, axis, rounded):
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal((5, 7)) * rng.lognormal(0, 2, (5, 7))).astype(np.float32)
    codes, scales = CARD.weight(weight, axis, rounded)
    assert codes.dtype == np.int8
    assert np.array_equal(scales, scales.astype(rounded).astype(np.float32))
    error = np.abs(CARD.restored(codes, scales, axis) - weight).max(axis=1 - axis)
    largest = np.abs(weight).max(axis=1 - axis)
    assert (error <= 0.5 * scales + 2e-3 * largest).all()


def test_fp8_weights_are_the_nearest_e4m3_numbers():
    weight = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    codes, scale = FP8.weight(weight, 0)
    assert scale.shape == ()
    assert np.float32(np.abs(codes.astype(np.float32)).max()) == E4M3_MAX
    # every E4M3 number, from its definition: 4 exponent bits of bias 7, 3 fraction bits, no infinities
    positive = [f / 8 * 2.0**-6 for f in range(8)]
    positive += [(1 + f / 8) * 2.0 ** (e - 7) for e in range(1, 16) for f in range(8) if (e, f) != (15, 7)]
    every = np.array(sorted({*positive, *(-value for value in positive)}), np.float32)
    nearest = every[np.abs(weight[..., None] / scale - every).argmin(-1)]
    assert np.abs(codes.astype(np.float32) - nearest).max() <= 1e-6


def small_model(seed=0):
    """Pixels → conv+relu → conv → conv+relu → product with weights and with itself → conv; and a timestep's product."""
    rng = np.random.default_rng(seed)

    def weight(name, *shape):
        return numpy_helper.from_array(
            (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name
        )

    nodes = [
        helper.make_node("Div", ["image", "top"], ["x"], "scaled"),
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("Gemm", ["timestep", "wt"], ["t"], "time", transB=1),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Unsqueeze", ["t", "axes"], ["tt"], "time2"),
        helper.make_node("Add", ["c1", "tt"], ["a1"], "add"),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"], "third", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("Conv", ["r2", "wg"], ["g"], "grouped", pads=[1, 1, 1, 1], group=8),
        helper.make_node("MatMul", ["g", "wm"], ["m"], "weights"),
        helper.make_node("MatMul", ["m", "g"], ["mm"], "attention"),
        helper.make_node("Conv", ["mm", "w3", "b3"], ["y"], "last", pads=[1, 1, 1, 1]),
    ]
    inits = [
        weight("w0", 8, 3, 3, 3), weight("w1", 8, 8, 3, 3), weight("w2", 8, 8, 3, 3), weight("w3", 4, 8, 3, 3),
        weight("wg", 8, 1, 3, 3), weight("wm", 8, 8), weight("wt", 8, 4), weight("b0", 8), weight("b1", 8),
        weight("b2", 8), weight("b3", 4), numpy_helper.from_array(np.float32(255), "top"),
        numpy_helper.from_array(np.array([2, 3]), "axes"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8]),
            helper.make_tensor_value_info("timestep", TensorProto.FLOAT, ["N", 4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, 8, 8])],
        inits,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return model


def session(model, plain=False):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if plain:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def feeds_of(seed=0, rows=3):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (rows, 3, 8, 8)).astype(np.float32),
        "timestep": rng.standard_normal((rows, 4)).astype(np.float32),
    }


def ranges_of(model, feeds):
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    names = [name for name in observed_tensors(model) if name not in ("y", "timestep")]
    wide.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    values = dict(zip(names, session(wide, plain=True).run(names, feeds)))
    values["timestep"] = feeds["timestep"]
    return {name: (float(min(value.min(), 0)), float(max(value.max(), 0))) for name, value in values.items()}


@pytest.fixture(scope="module")
def small():
    model = small_model()
    layers = find_layers(model)
    rule = kept_by_rule(model, layers)
    return model, layers, [layer for layer in layers if layer.name not in rule], ranges_of(model, feeds_of())


def test_layers_and_the_rule(small):
    model, layers, candidates, _ = small
    assert [layer.name for layer in layers] == ["first", "time", "second", "third", "grouped", "weights", "last"]
    assert kept_by_rule(model, layers) == {
        "first": "first convolution",
        "time": "time embedding",
        "grouped": "grouped convolution",
        "last": "last convolution",
    }
    assert [(layer.name, layer.input, layer.output, layer.axis) for layer in candidates] == [
        ("second", "r0", "c1", 0),
        ("third", "a1", "r2", 0),
        ("weights", "g", "m", 1),
    ]
    assert "scaled" not in between_layers(model)
    assert {"relu0", "add", "attention"} <= between_layers(model)


def by_hand(model, chosen, ranges, scheme, feeds):
    """The network once more, node by node, with what is chosen rounded: NumPy, and ONNX Runtime for one Conv a time."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    layers = {layer.name: layer for layer in find_layers(model) if layer.name in chosen}
    outputs = {layer.output for layer in layers.values()} if scheme.outputs else set()

    def rounded(name, value):
        scale, zero = scheme.activation(ranges[name])
        if scheme.kind == "fp8":
            import ml_dtypes

            codes = np.clip(value / np.float32(scale), -448, 448).astype(ml_dtypes.float8_e4m3fn)
            return codes.astype(np.float32) * np.float32(scale)
        info = np.iinfo(scheme.dtype)
        return (np.clip(np.rint(value / np.float32(scale)) + zero, info.min, info.max) - zero) * np.float32(scale)

    values = {**feeds, **weights}
    for node in model.graph.node:
        own = {name: values[name] for name in node.input}
        if node.name in layers:
            layer = layers[node.name]
            own[layer.input] = rounded(layer.input, own[layer.input]).astype(np.float32)
            codes, scales = scheme.weight(own[layer.weight], layer.axis)
            own[layer.weight] = scheme.restored(codes, scales, layer.axis)
        inputs = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), None) for n, v in own.items()
        ]
        result = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
        one = helper.make_model(
            helper.make_graph([node], "one", inputs, [result]), opset_imports=[helper.make_opsetid("", 18)]
        )
        one.ir_version = 10
        values[node.output[0]] = session(one).run(None, own)[0]
        if node.output[0] in outputs:
            values[node.output[0]] = rounded(node.output[0], values[node.output[0]]).astype(np.float32)
    return values["y"]


@SCHEMES
@pytest.mark.parametrize("names", [("second",), ("third", "weights"), ("second", "third", "weights")])
def test_the_graph_computes_what_rounding_by_hand_gives(small, scheme, names):
    model, _, candidates, ranges = small
    chosen = [layer for layer in candidates if layer.name in names]
    made = quantized_model(model, chosen, ranges, scheme)
    onnx.checker.check_model(made)
    feeds = feeds_of()
    expected = by_hand(model, names, ranges, scheme, feeds)
    plain = session(model).run(None, feeds)[0]
    step = np.abs(expected - plain).max()
    assert step > 1e-4  # it does round
    found = session(made, plain=True).run(None, feeds)[0]
    # a code on the border of two may fall to either side
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.3 * np.sqrt(np.mean((expected - plain) ** 2))
    switched = switched_model(model, candidates, ranges, scheme)
    onnx.checker.check_model(switched)
    switch = np.array([layer.name in names for layer in candidates], np.float32)
    behind = session(switched, plain=True).run(None, {**feeds, SWITCH: switch})[0]
    assert np.sqrt(np.mean((behind - found) ** 2)) < 0.3 * np.sqrt(np.mean((found - plain) ** 2))
    off = session(switched, plain=True).run(None, {**feeds, SWITCH: np.zeros_like(switch)})[0]
    assert relative_error([plain], [off]) < 1e-5


def test_the_cards_layout_leaves_biases_and_outputs(small):
    model, _, candidates, ranges = small
    made = quantized_model(model, candidates, ranges, CARD)
    kinds = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert kinds["b1"] == TensorProto.FLOAT
    assert not [name for name, kind in kinds.items() if kind in (TensorProto.UINT8, TensorProto.INT32)]
    quantized = {node.input[0] for node in made.graph.node if node.op_type == "QuantizeLinear"}
    assert quantized == {layer.input for layer in candidates}
    zeros = [numpy_helper.to_array(t) for t in made.graph.initializer if t.name.endswith("_zero")]
    assert not any(zero.any() for zero in zeros)


def test_onnxruntime_runs_integer_kernels_and_leaves_what_was_left(small, tmp_path):
    """Between two pairs it would also quantize a convolution that was left, with one scale for all channels."""
    model, _, candidates, ranges = small
    chosen = [layer for layer in candidates if layer.kind == "Conv"]
    made = quantized_model(model, chosen, ranges, CPU)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == 2
    feeds = feeds_of()
    fused, plain = session(made).run(None, feeds)[0], session(made, plain=True).run(None, feeds)[0]
    assert relative_error([plain], [fused]) < 0.01
    # the same with the one in the middle left
    model = chain()
    layers = [layer for layer in find_layers(model) if layer.name in ("c1", "c3")]
    ranges = ranges_of_chain(model)
    made = quantized_model(model, layers, ranges, CPU)
    x = {"x": np.random.default_rng(0).standard_normal((2, 8, 8, 8)).astype(np.float32)}
    fused, plain = session(made).run(None, x)[0], session(made, plain=True).run(None, x)[0]
    assert relative_error([plain], [fused]) < 0.01


def chain():
    """Four convolutions; the channels of the third differ a thousandfold."""
    rng = np.random.default_rng(3)
    weights = [(rng.standard_normal((8, 8, 3, 3)) / 9).astype(np.float32) for _ in range(5)]
    weights[2] *= np.logspace(0, -3, 8, dtype=np.float32)[:, None, None, None]
    names = ["x", "y0", "y1", "y2", "y3", "y4"]
    nodes = [
        helper.make_node("Conv", [a, f"w{i}"], [b], f"c{i}", pads=[1, 1, 1, 1])
        for i, (a, b) in enumerate(pairwise(names))
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8, 8, 8]) for name in ("x", "y4")]
    inits = [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)]
    # each channel of the third is as large as the others again before the fourth reads it
    scale = numpy_helper.from_array(np.logspace(0, 3, 8, dtype=np.float32)[None, :, None, None], "scale")
    nodes.insert(3, helper.make_node("Mul", ["y2", "scale"], ["y2b"], "mul"))
    nodes[4].input[0] = "y2b"
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], [*inits, scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model


def ranges_of_chain(model):
    names = [name for name in observed_tensors(model) if name not in ("x", "y4")]
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    wide.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 8)).astype(np.float32)
    found = session(wide, plain=True).run(names, {"x": x})
    return {name: (float(value.min()), float(value.max())) for name, value in zip(names, found)}


def test_a_bias_that_int32_cannot_hold_widens_the_scale_of_its_channel(small):
    model, _, candidates, ranges = small
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for tensor in other.graph.initializer:
        if tensor.name == "w1":  # a channel that training has switched off, but for its bias
            weight = numpy_helper.to_array(tensor).copy()
            weight[0] = 1e-12
            tensor.CopyFrom(numpy_helper.from_array(weight, "w1"))
    made = quantized_model(other, candidates[:1], ranges, CPU)
    feeds = feeds_of()
    error = relative_error(session(other).run(None, feeds), session(made, plain=True).run(None, feeds))
    assert error < 0.03


def test_half_keeps_inputs_outputs_and_what_lies_outside_the_layers(small):
    model, _, candidates, ranges = small
    for scheme in (None, CARD, FP8):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        before = copy if scheme is None else quantized_model(model, candidates, ranges, scheme, half=True)
        expected = session(before, plain=True).run(None, feeds_of())
        made = half_model(before, model)
        onnx.checker.check_model(made)
        types = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
        assert types["top"] == TensorProto.FLOAT
        assert TensorProto.FLOAT16 in types.values()
        assert [value.type.tensor_type.elem_type for value in made.graph.output] == [TensorProto.FLOAT]
        # a code on the border of two may fall to the other side
        limit = 2e-3 if scheme is None else 2e-2
        assert relative_error(expected, session(made, plain=True).run(None, feeds_of())) < limit


def test_layers_are_left_until_the_error_is_kept():
    errors = {"a": 0.5, "b": 0.01, "c": 0.02, "d": 0.001}
    tried = []

    def together(names):
        tried.append(tuple(names))
        return 1.5 * float(np.sqrt(sum(errors[name] ** 2 for name in names)))

    choice = choose_layers(errors, together, 0.025)
    assert choice.layers == ["b", "d"]  # in the graph's order; "c" only once the joint error was tried
    assert tried == [("b", "c", "d"), ("b", "d")]
    assert choice.error == pytest.approx(together(["b", "d"]))
    assert choose_layers(errors, together, 1e-9).layers == []


def test_each_layers_error_is_that_of_its_own_graph(small, tmp_path):
    model, _, candidates, ranges = small
    path = tmp_path / "switched.onnx"
    onnx.save(switched_model(model, candidates, ranges, CARD), str(path))
    batches = [feeds_of(1), feeds_of(2)]
    graph = SwitchedGraph(path, [layer.name for layer in candidates], batches, threads=1)
    plain = [session(model).run(None, batch)[0] for batch in batches]
    for layer in candidates:
        alone = session(quantized_model(model, [layer], ranges, CARD), plain=True)
        expected = relative_error(plain, [alone.run(None, batch)[0] for batch in batches])
        assert graph.error([layer.name]) == pytest.approx(expected, rel=0.05)
    assert graph.error([]) == 0


def test_correlation_of_maps():
    a = np.arange(12.0).reshape(3, 4)
    assert correlation(a, 2 * a + 1) == pytest.approx(1)
    assert correlation(a, -a) == pytest.approx(-1)
    assert correlation(a, np.ones((3, 4))) == 0
    assert correlation(np.ones((3, 4)), np.ones((3, 4))) == 1


@pytest.fixture(scope="module")
def rings(tmp_path_factory, tiny_shots, draw_picture):
    """Three shots, four fresh good rings and four with a block."""
    root = tmp_path_factory.mktemp("rings")
    for part in ("train/good", "test/good", "test/block"):
        (root / "ring" / part).mkdir(parents=True)
    for shot in tiny_shots["ring"]:
        shutil.copy(shot, root / "ring/train/good")
    for i in range(4):
        image = draw_picture(20 + 2 * i)
        Image.fromarray(image).save(root / f"ring/test/good/{i}.png")
        image = image.copy()
        image[20:34, 26:46] = 250
        Image.fromarray(image).save(root / f"ring/test/block/{i}.png")
    return root


@pytest.fixture(scope="module")
def ranged(tiny_bundle, rings, tmp_path_factory):
    bundle = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("ranged") / "b")
    manifest = read_manifest(bundle)  # without prototypes, so that the score is that of what is quantized
    manifest.plans["grouped"].weights = Weights(alpha=0.1)
    del manifest.categories["weave"]  # ranges must be of all categories
    write_manifest(bundle, manifest)
    options = ("--ranges-only", "--range-images", "2", "--threads", "1", "--provider", "cpu")
    assert run(["calibrate", str(bundle), str(rings), *options]) == 0
    return bundle


def export(source, out, rings, *options):
    common = ("--data", str(rings), "--threads", "1", "--check-images", "2", "--layer-error", "0.1")
    return run(["export", str(source), "--out", str(out), *common, *options])


def test_a_bundle_becomes_int8_end_to_end(ranged, rings, tiny_picture, tmp_path, capsys, monkeypatch):
    out = tmp_path / "int8"
    assert export(ranged, out, rings, "--precision", "int8") == 0
    assert "plan paper was not compared: no ranges were taken under it" in capsys.readouterr().err
    manifest = read_manifest(out)
    for name in ("encoder", "denoiser", "decoder"):
        graph = manifest.graphs[name]
        assert graph.precision == "int8"
        made = graph.quantization
        assert (made.layout, made.rest, made.clip) == ("cpu", "fp32", "mse")
        assert made.layers
        assert made.error <= 0.1
        assert "first convolution" in made.left.values()
        assert not set(made.layers) & set(made.left)
    assert {manifest.graphs[name].precision for name in ("features", "score", "prepare", "compose")} == {"fp32"}
    assert "time embedding" in manifest.graphs["denoiser"].quantization.left.values()
    assert manifest.metrics["export"]["quantization"]["check"]["pictures"] == 4
    table = (tmp_path / "int8-quantization/layers.md").read_text()
    assert all(layer in table for layer in manifest.graphs["decoder"].quantization.layers)
    assert (out / "graphs/denoiser.onnx").stat().st_size < (ranged / "graphs/denoiser.onnx").stat().st_size
    assert run(["verify", str(out), "--threads", "1"]) == 0
    detector = Detector.load(out, provider="cpu", threads=1)
    assert detector.precision == "int8"
    with monkeypatch.context() as elsewhere:  # a processor on which the same is computed in another way
        elsewhere.setattr(onnx_session, "clamps_int8_sums", lambda *_: True)
        wide = Detector.load(out, provider="cpu", threads=1).inspect(tiny_picture, "ring").score_map
    np.testing.assert_allclose(wide, detector.inspect(tiny_picture, "ring").score_map, rtol=1e-3, atol=1e-4)
    assert "at int8" in detector.undecided("ring")  # thresholds are of a precision
    capsys.readouterr()
    if find_spec("tensorrt_rtx") is not None:
        assert run(["engines", "build", str(out), "--library", "trt-rtx", "--sm", "8.9"]) == 2
        assert "--precision int8 --layout tensorrt" in capsys.readouterr().err
    # again, from what was measured; and the limits, each with its figure
    before = (out / "manifest.json").read_bytes()
    for options, words in (
        (("--least-correlation", "1"), "less than --least-correlation 1"),
        (("--layer-error", "1e-9"), "no layer could be quantized to int8"),
    ):
        assert export(ranged, out, rings, "--precision", "int8", *options) == 1
        said = capsys.readouterr().err
        assert words in said
        assert "nothing was written" in said
    assert (out / "manifest.json").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_every_plan_with_ranges_is_compared(ranged, rings, tiny_bundle, tmp_path, capsys):
    bundle = shutil.copytree(ranged, tmp_path / "b")
    manifest = read_manifest(bundle)
    manifest.plans["other"] = manifest.plans["grouped"].model_copy(update={"scales": (1,)})
    manifest.ranges["other"] = manifest.ranges["grouped"]
    manifest.categories["weave"] = read_manifest(tiny_bundle).categories["weave"]
    write_manifest(bundle, manifest)
    assert export(bundle, tmp_path / "out", rings, "--precision", "fp16", "--graphs", "decoder") == 0
    said = capsys.readouterr().err
    assert "against fp32 under plan grouped on 4 pictures" in said
    assert "against fp32 under plan other on 4 pictures" in said
    assert "plan paper was not compared" in said
    assert "not compared with fp32, as --data has no pictures of it: weave" in said
    check = read_manifest(tmp_path / "out").metrics["export"]["quantization"]["check"]
    assert set(check["plans"]) == {"grouped", "other"}
    assert check["plans"]["grouped"]["score_map_correlation"] == check["score_map_correlation"]


def test_ranges_of_some_categories_or_of_another_schedule_are_refused(ranged, rings, tiny_bundle, tmp_path, capsys):
    bundle = shutil.copytree(ranged, tmp_path / "b")
    manifest, changed = read_manifest(bundle), read_manifest(bundle)
    changed.schedules["stronger"] = changed.schedules["grouped"].model_copy(update={"noise_strength": 0.5})
    changed.categories["ring"].schedules["grouped"] = "stronger"
    more = manifest.model_copy(deep=True)
    more.categories["weave"] = read_manifest(tiny_bundle).categories["weave"]
    mend = f'run edge-ad calibrate "{bundle}" DATA --ranges-only --plan grouped on pictures of all categories'
    for other, words in ((changed, "noise strength or steps of ring changed"), (more, "are not of weave")):
        write_manifest(bundle, other)
        assert export(bundle, tmp_path / "out", rings, "--precision", "int8") == 1
        said = capsys.readouterr().err
        assert words in said
        assert mend in said
        assert not (tmp_path / "out").exists()
    # a bundle of before says nothing of it, and passes
    changed.ranges["grouped"].categories = {}
    write_manifest(bundle, changed)
    lines: list[str] = []
    check_ranges(Bundle.open(bundle), lines.append)
    (line,) = lines
    assert line.startswith("the ranges of plan grouped do not say of which categories and schedules they are")


def test_a_layers_error_is_measured_again_with_another_library(monkeypatch):
    batch = {"x": np.ones(3, np.float32)}
    before = quantizing._place("graph", batch)
    assert quantizing._place("graph", batch) == before
    for name, value in (("__version__", "0.0.0"), ("runs_on", lambda provider: "onnxruntime 0.0, a processor")):
        with monkeypatch.context() as patch:
            patch.setattr(quantizing, name, value)
            assert quantizing._place("graph", batch) != before


def test_fp8_and_int8_for_cards_become_engines_without_one(ranged, rings, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorrt_rtx", reason="needs the trt-rtx extra")
    monkeypatch.setenv("EDGE_AD_CACHE", str(tmp_path / "cache"))
    bundle = shutil.copytree(ranged, tmp_path / "b")  # one plan and two graphs' worth of engines are enough
    manifest = read_manifest(bundle)
    write_manifest(bundle, manifest.model_copy(update={"plans": {"grouped": manifest.plans["grouped"]}}))
    out = tmp_path / "fp8"
    options = ("--precision", "fp8", "--target", "trt-rtx", "--sm", "8.9")
    assert export(bundle, out, rings, *options) == 0
    with Bundle.open(out) as opened:
        made = opened.graph("denoiser").quantization
        assert (made.layout, made.rest) == ("tensorrt", "fp16")
        (engine,) = opened.manifest.engines.values()
        assert (engine.precision, engine.compute_capability) == ("fp8", "8.9")
        types = {t.data_type for t in onnx.load(str(opened.file("graphs/denoiser.onnx"))).graph.initializer}
        assert {TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT16} <= types
    capsys.readouterr()
    assert export(bundle, tmp_path / "no", rings, "--precision", "fp8", "--target", "trt-rtx", "--sm", "8.6") == 2
    assert "fp8 needs compute capability 8.9" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_thresholds_of_other_graphs_decide_nothing(tiny_bundle, tiny_picture, tmp_path):
    """The denoiser stays in fp32, and so does the precision that thresholds go by."""
    source, out = shutil.copytree(tiny_bundle, tmp_path / "b"), tmp_path / "c"
    manifest = read_manifest(source)
    entry = manifest.categories["ring"]
    entry.thresholds = {"grouped": {"fp32": 1.0}}
    chosen = {"lambda": 0.4, "by": "hand"}
    evidence = calibration_files("ring", "grouped", "fp32")[0]
    earlier = Calibration(rule="f1", created="today", target=0.01, chosen=chosen, evidence=evidence)
    entry.calibrations = {"grouped": {"fp32": earlier}}
    (source / evidence).parent.mkdir()
    pictures = [{"sha256": "a", "file": "a.png", "role": "choosing"}, {"sha256": "b", "file": "b.png", "role": "good"}]
    (source / evidence).write_text(json.dumps({"pictures": pictures}))
    write_manifest(source, manifest)
    options = ("--precision", "fp16", "--graphs", "decoder", "--threads", "1")
    assert run(["export", str(source), "--out", str(out), *options]) == 0
    before, after = (Detector.load(one, provider="cpu", threads=1) for one in (source, out))
    assert (before.precision, after.precision) == ("fp32", "fp32")
    assert before.undecided("ring") is None
    assert after.inspect(tiny_picture, "ring").verdict == "undecided"
    assert after.bundle.category("ring").calibrations["grouped"]["fp32"].chosen == chosen
    assert chosen_before(after.bundle, "ring", "grouped") == {"a": "a.png"}  # still for no promise


def test_fp16_needs_no_ranges(tiny_bundle, tmp_path):
    out = tmp_path / "fp16"
    assert run(["export", str(tiny_bundle), "--out", str(out), "--precision", "fp16", "--threads", "1"]) == 0
    manifest = read_manifest(out)
    assert {manifest.graphs[name].precision for name in ("encoder", "denoiser", "decoder")} == {"fp16"}
    assert manifest.metrics["export"]["verify"]["denoiser"]["max_error"] < 2e-2


def test_what_cannot_be_is_one_sentence(tiny_bundle, tiny_run, ranged, rings, tmp_path, capsys):
    out = str(tmp_path / "out")
    data = ("--data", str(rings))
    for source, options, code, words in (
        (tiny_bundle, ("--precision", "int8", *data), 1, "has no activation ranges; run edge-ad calibrate"),
        (ranged, ("--precision", "int8"), 2, "give --data"),
        (ranged, (), 2, "is a bundle already"),
        (ranged, ("--precision", "fp8", "--layout", "cpu", *data), 2, "needs --layout tensorrt"),
        (ranged, ("--precision", "fp16", "--layout", "cpu"), 2, "--precision fp16 needs --layout tensorrt"),
        (ranged, ("--precision", "fp16", "--graphs", "features"), 2, "features stay in fp32"),
        (ranged, ("--precision", "fp16", "--graphs", "decoder,features"), 2, "features stay in fp32"),
        (ranged, ("--precision", "int8", "--graphs", "score", *data), 2, '--graphs "score" cannot be quantized'),
        (ranged, ("--precision", "int8", "--steps", "3", *data), 2, "--steps is for a RUN"),
        (tiny_run, ("--precision", "int8"), 2, "is made of a calibrated bundle"),
        (tiny_run, ("--layer-error", "0.1"), 2, "--layer-error is for a BUNDLE"),
    ):
        assert run(["export", str(source), "--out", out, *options]) == code, options
        said = capsys.readouterr().err
        assert words in said, (options, said)
        assert "Traceback" not in said
    bundle = shutil.copytree(ranged, tmp_path / "moved")
    file = bundle / read_manifest(bundle).ranges["grouped"].file
    content = json.loads(file.read_text())
    assert content["graphs"]["denoiser"]
    with Bundle.open(bundle) as opened:
        assert set(bundle_ranges(opened, "denoiser", "mse")) == set(content["graphs"]["denoiser"])
