"""The cost of a graph, against hand-computed numbers and PyTorch's own counter."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from edge_ad.export.costs import fit, graph_cost, node_flops  # noqa: E402


def saved(folder, nodes, inputs, outputs, weights=()):
    """An ONNX file of these nodes; shapes may hold names of free sizes; weights are {name: array}."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def values(specs):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in specs.items()]

    graph = helper.make_graph(
        nodes,
        "g",
        values(inputs),
        values(outputs),
        [numpy_helper.from_array(array, name) for name, array in dict(weights).items()],
    )
    path = folder / "g.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)]), str(path))
    return path


def node(kind, inputs, outputs, **attributes):
    from onnx import helper

    return helper.make_node(kind, inputs, outputs, **attributes)


def test_a_convolution_by_hand(tmp_path):
    path = saved(
        tmp_path,
        [node("Conv", ["x", "w", "b"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], group=2), node("Relu", ["y"], ["z"])],
        {"x": ["B", 4, 8, 8]},
        {"z": ["B", 6, 4, 4]},
        {"w": np.zeros((6, 2, 3, 3), np.float32), "b": np.zeros(6, np.float32)},
    )
    cost = graph_cost(path)
    assert cost.flops == {"B": 2 * (6 * 4 * 4) * (2 * 3 * 3)}
    # the graph's input and output, then the convolution's: 256 numbers in and 96 out, four bytes each, twice
    assert cost.traffic == {"B": 2 * 4 * (4 * 8 * 8 + 6 * 4 * 4)}
    assert cost.parameters == 6 * 2 * 3 * 3 + 6
    assert cost.weight_bytes == 4 * cost.parameters


def test_a_transposed_convolution_by_hand(tmp_path):
    path = saved(
        tmp_path,
        [node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], kernel_shape=[2, 2])],
        {"x": ["N", 4, 5, 5]},
        {"y": ["N", 3, 10, 10]},
        {"w": np.zeros((4, 3, 2, 2), np.float16).astype(np.float32)},
    )
    # stride 2 and kernel 2: every output number sums over the 4 input channels at one position
    assert graph_cost(path).flops == {"N": 2 * 3 * 10 * 10 * 4}


def test_products_by_hand_and_sizes_that_multiply(tmp_path):
    path = saved(
        tmp_path,
        [
            node("MatMul", ["a", "x"], ["y"]),
            node("Gemm", ["y", "w"], ["z"], transB=1),
            node("MatMul", ["c", "w"], ["d"]),
        ],
        {"a": ["K", "B"], "x": ["B", 7], "c": [2, 3, 5]},
        {"z": ["K", 5], "d": [2, 3, 7]},
        {"w": np.zeros((5, 7), np.float32)},
    )
    assert graph_cost(path).flops == {"B*K": 2 * 7, "K": 2 * 7 * 5, "": 2 * 6 * 5 * 7}


@pytest.mark.parametrize("axes", [3, 4])
def test_attention_is_its_two_products(tmp_path, axes):
    heads, queries, keys, width, value_width = 4, 6, 10, 8, 3
    if axes == 4:
        shapes = [
            (heads, queries, width),
            (heads, keys, width),
            (heads, keys, value_width),
            (heads, queries, value_width),
        ]
        attributes = {}
    else:
        shapes = [(length, heads * w) for length, w in ((queries, width), (keys, width), (keys, value_width))]
        shapes.append((queries, heads * value_width))
        attributes = {"q_num_heads": heads, "kv_num_heads": heads}
    q, k, v, y = (["B", *shape] for shape in shapes)
    path = saved(
        tmp_path, [node("Attention", ["q", "k", "v"], ["y"], **attributes)], {"q": q, "k": k, "v": v}, {"y": y}
    )
    assert graph_cost(path).flops == {
        "B": 2 * heads * queries * keys * width + 2 * heads * queries * keys * value_width
    }


def test_what_is_not_counted_says_so():
    assert node_flops(node("Softmax", ["x"], ["y"]), {"x": (2, 3), "y": (2, 3)}) is None


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_fit_finds_every_sum_of_products(data):
    symbols = data.draw(st.lists(st.sampled_from("BKNPRV"), unique=True, max_size=4))
    products = ["*".join(part) for n in range(len(symbols) + 1) for part in itertools.combinations(symbols, n)]
    terms = {product: data.draw(st.integers(0, 10**15)) for product in products}

    def count(sizes):
        return sum(c * math.prod(sizes[name] for name in product.split("*") if name) for product, c in terms.items())

    assert fit(count, symbols) == {product: c for product, c in terms.items() if c}


def test_a_cost_that_grows_otherwise_is_refused():
    with pytest.raises(ValueError, match="no sum of products"):
        fit(lambda sizes: sizes["B"] ** 2, ["B"])


def counted_by_torch(case) -> int:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # the counter does not know the CPU's fused attention; as plain products it does
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        case.module(**case.inputs)
    return counter.get_total_flops()


def at(cost, case) -> int:
    sizes = {name: case.inputs[tensor].shape[axis] for tensor, axes in case.axes.items() for axis, name in axes.items()}
    return sum(value * math.prod(sizes[name] for name in term.split("*") if name) for term, value in cost.flops.items())


# not of features: the exporter drops EfficientNet's last stages, which nobody reads and PyTorch runs
@pytest.mark.parametrize("name", ["encoder", "denoiser", "decoder", "score"])
def test_exported_graphs_cost_what_torch_counts(name, tiny_base, tiny_bundle):
    from edge_ad.bundle_files import Bundle
    from edge_ad.export.graphs.decoder import decoder_case
    from edge_ad.export.graphs.denoiser import denoiser_case
    from edge_ad.export.graphs.encoder import encoder_case
    from edge_ad.export.graphs.score import score_case
    from edge_ad.training.perceptual import PerceptualNet

    manifest = Bundle.open(tiny_bundle).manifest
    rng, base = np.random.default_rng(0), tiny_base()
    case = {
        "encoder": lambda: encoder_case(base.vae, 64, rng),
        "denoiser": lambda: denoiser_case(base.unet, 4, 8, (32, 32), rng),
        "decoder": lambda: decoder_case(base.vae, 4, 8, rng),
        "score": lambda: score_case(PerceptualNet(manifest.perceptual), 64, 8, rng),
    }[name]()
    cost = manifest.graphs[name].cost
    assert at(cost, case) == counted_by_torch(case)


@pytest.mark.slow
def test_nanos_denoiser_costs_what_torch_counts(tmp_path):
    from edge_ad.export.graphs.denoiser import denoiser_case
    from edge_ad.export.onnx import write_graph
    from edge_ad.training.pretrain.architecture import PROMPT_LENGTH, build_unet

    torch.set_num_threads(1)
    case = denoiser_case(build_unet().eval(), 4, 32, (PROMPT_LENGTH, 128), np.random.default_rng(0))
    cost = write_graph(case, tmp_path, "fp32", 0).cost
    assert set(cost.flops) == {"B"}  # prompts are gathered, not multiplied
    assert at(cost, case) == counted_by_torch(case)
    # the exporter keeps equal weights once, such as the zero biases of an untrained network
    assert cost.parameters == pytest.approx(sum(p.numel() for p in case.module.parameters()), rel=0.01)
