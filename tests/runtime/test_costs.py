"""What a plan costs, against a slow count; the peak; the rows of a profile."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.bundle import Cost, Plan, Weights
from edge_ad.bundle_files import Bundle
from edge_ad.runtime.costs import bundle_plan_cost, plan_cost, total
from edge_ad.runtime.plan import grouped_plan, paper_plan

GRAPHS = ("encoder", "prepare", "denoiser", "compose", "decoder", "features", "score")


def cost(flops, traffic=None, weights=0):
    return Cost(flops=flops, traffic=traffic or {}, parameters=0, weight_bytes=weights)


def unit_costs():
    """FLOPs that are one a row, a different power of ten a graph, so that every count can be read off the sum."""
    return {
        "encoder": cost({"N": 1}),
        "prepare": cost({}, {"B": 1}),
        "denoiser": cost({"B": 10**4}, {"B": 3, "P": 1}, weights=50),
        "compose": cost({"B*K": 0}),
        "decoder": cost({"K": 10**9}),
        "features": cost({"N": 10**13}),
        "score": cost({"": 10**14, "K": 10**15, "K*R": 0}),
    }


def test_terms_add_up():
    assert total({"": 7, "K*R": 2, "K": 1}, {"K": 3, "R": 4}) == 7 + 24 + 3


def test_the_papers_plan_costs_1720_evaluations():
    found = plan_cost(unit_costs(), paper_plan("s"), 32, steps=20, feature_shape=(2, 3, 3), prototypes=5)
    assert (found.inpaintings, found.evaluations, found.encodings, found.decodings) == (86, 1720, 87, 86)
    stages = {stage.stage: stage for stage in found.stages}
    assert list(stages) == ["features", "prototypes", "encode", "prepare", "denoise", "decode", "score"]
    assert stages["encode"].flops == 87
    assert stages["denoise"].flops == 1720 * 10**4
    assert stages["denoise"].traffic == 20 * (86 * 3 + 1 + 50)  # the weights once a step
    assert stages["decode"].flops == 86 * 10**9
    assert stages["score"].flops == 10**14 + 86 * 10**15
    assert stages["prototypes"].flops == 2 * 9 * 2 * 5
    assert found.flops == sum(stage.flops for stage in found.stages)


def test_the_grouped_plan_costs_52_evaluations_and_what_has_no_weight_costs_nothing():
    def grouped(prototypes, **weights):
        plan = grouped_plan("s")
        changed = plan.weights.model_copy(update=weights)
        return plan_cost(
            unit_costs(), plan, 32, steps=4, feature_shape=(2, 3, 3), prototypes=prototypes, weights=changed
        )

    usual, guided, bare = grouped(5), grouped(5, alpha=0.1), grouped(0, reference=0.0)
    assert (usual.inpaintings, usual.evaluations, usual.encodings, usual.decodings) == (13, 52, 1, 5)
    assert (guided.inpaintings, guided.evaluations, guided.encodings, guided.decodings) == (14, 56, 1, 6)
    assert (bare.inpaintings, bare.evaluations, bare.encodings, bare.decodings) == (13, 52, 1, 4)
    assert {"features", "prototypes"} & {stage.stage for stage in bare.stages} == set()


def test_without_costs_the_counts_are_known():
    found = plan_cost({}, paper_plan("s"), 32, steps=20, feature_shape=(2, 3, 3), prototypes=5)
    assert (found.evaluations, found.known, found.flops) == (1720, False, 0)


@settings(deadline=None, max_examples=40)
@given(
    scales=st.lists(st.integers(1, 8), min_size=1, max_size=4, unique=True),
    grouping=st.sampled_from(["single", "checkerboard"]),
    decode=st.sampled_from(["each", "scale"]),
    encoded=st.booleans(),
    prototypes=st.sampled_from([0, 7]),
    reference=st.booleans(),
    alpha=st.sampled_from([0.0, 0.1]),
    steps=st.integers(1, 50),
    draws=st.integers(1, 3),
)
def test_counts_are_those_of_a_slow_count(
    scales, grouping, decode, encoded, prototypes, reference, alpha, steps, draws
):
    plan = Plan(
        scales=tuple(scales), grouping=grouping, decode=decode, schedule="s", noise_draws=draws,
        masked_latents="encoded" if encoded else "blended", weights=Weights(alpha=alpha, reference=float(reference)),
    )  # fmt: skip
    guided = prototypes > 0 and alpha > 0
    masks = sum(k * k if grouping == "single" else len({(i % 2, j % 2) for i in range(k) for j in range(k)})
                for k in scales) + guided  # fmt: skip
    pictures = draws * (masks if decode == "each" else len(scales) + guided)
    masks *= draws
    found = plan_cost(unit_costs(), plan, 8, steps=steps, feature_shape=(2, 3, 3), prototypes=prototypes)
    assert found.inpaintings == masks
    assert found.evaluations == masks * steps
    assert found.encodings == 1 + encoded * masks
    assert found.decodings == pictures + reference
    # digit by digit: one FLOP an encoding, 10^4 an evaluation, 10^9 a decoding, 10^14 and 10^15 of the score
    digits = found.flops - (2 * 9 * 2 * prototypes)
    expected = found.encodings + found.evaluations * 10**4 + found.decodings * 10**9
    assert digits == expected + (prototypes > 0) * 10**13 + 10**14 + pictures * 10**15


def test_a_real_bundle_runs_as_often_as_counted(tiny_bundle, tiny_picture):
    """The batch rows that the sessions of a real detector see are those that the costs are counted for."""
    from edge_ad.runtime import Detector

    opened = Bundle.open(tiny_bundle)
    several = opened.manifest.plans["grouped"].model_copy(update={"noise_draws": 3})
    opened.manifest.plans["several"] = several
    for plan in ("grouped", "paper", "several"):
        detector = Detector.load(opened, provider="cpu", plan=plan, threads=1)
        detector.inspect(tiny_picture, "ring")  # a plan may keep what does not depend on the image
        seen: dict[str, int] = {}
        for name, session in detector._sessions.items():
            count_rows(session, name, seen)
        detector.inspect(tiny_picture, "ring")
        found = bundle_plan_cost(opened, plan, "ring")
        rows = {stage.stage: stage.rows for stage in found.stages}
        assert seen["encoder"] == rows["encode"] == found.encodings
        assert seen["denoiser"] == rows["denoise"] == found.evaluations
        assert seen["decoder"] == rows["decode"] == found.decodings
        assert seen["features"] == rows["features"] == 1
        assert found.flops > found.evaluations * opened.graph("denoiser").cost.flops["B"]


def count_rows(session, name, seen):
    run, kept, iterate = session.run, session.run_kept, session.iterate

    def first(feeds):
        array = next(iter(feeds.values()))
        return len(array if isinstance(array, np.ndarray) else array.numpy())

    def counted(call):
        def wrapper(feeds, *rest):
            seen[name] = seen.get(name, 0) + first(feeds)
            return call(feeds, *rest)

        return wrapper

    def counted_steps(fixed, state, steps, carry):
        seen[name] = seen.get(name, 0) + first(state) * len(steps)
        return iterate(fixed=fixed, state=state, steps=steps, carry=carry)

    session.run, session.run_kept, session.iterate = counted(run), counted(kept), counted_steps


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_hand_written_model_is_onnx_and_multiplies(dtype, tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import numpy_helper

    from edge_ad.runtime.gemm import gemm_model

    path = tmp_path / "gemm.onnx"
    path.write_bytes(gemm_model(24, 3, dtype))
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path))
    assert [node.op_type for node in model.graph.node] == ["MatMul"] * 3
    weights = numpy_helper.to_array(model.graph.initializer[0]).astype(np.float64)
    import onnxruntime

    x = np.random.default_rng(1).standard_normal((24, 24)).astype(dtype)
    found = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, x @ weights @ weights @ weights, atol=1e-4 if dtype == "float32" else 3e-2)


def test_the_peak_is_measured_in_the_providers_precision():
    from edge_ad.runtime.gemm import measure_peak

    peak = measure_peak("cpu", threads=1, size=128, depth=4, seconds=0.05)
    assert peak.flops_per_second > 1e8
    assert (peak.size, peak.precision) == (128, "fp32")


def rows_of(result, plan):
    return {row["stage"]: row for row in result["plans"][plan]["stages"]}


def test_a_profile_holds_every_stage_and_its_share(tiny_bundle):
    from edge_ad.runtime.profile import drawn_image, profile

    calls = []
    opened = Bundle.open(tiny_bundle)
    result = profile(
        opened, drawn_image(64), "ring", ["paper", "grouped"], provider="cpu", threads=1, repeats=2,
        step=lambda: calls.append(1),
    )  # fmt: skip
    assert len(calls) == 2 * 3 + 1
    assert list(result["plans"]) == ["grouped", "paper"]  # the cheap one first: peak memory never falls
    for name, plan in result["plans"].items():
        rows = {row["stage"]: row for row in plan["stages"]}
        assert list(rows)[-2:] == ["other", "total"]
        assert rows["total"]["flops"] == bundle_plan_cost(opened, name, "ring").flops
        assert rows["denoise"]["flops_per_second"] == rows["denoise"]["flops"] / rows["denoise"]["seconds"]
        assert rows["denoise"]["of_peak"] > 0
        parts = [row["share"] for stage, row in rows.items() if stage != "total"]
        assert sum(parts) == pytest.approx(1, abs=0.25)  # medians of two repeats do not add up exactly
        assert plan["peak_memory"] > 10e6
    assert "cascade" not in result["plans"]["paper"]
    early = result["plans"]["grouped"]["cascade"]
    assert 0 < early["seconds_prototypes"] < early["seconds_worst"] == rows_of(result, "grouped")["total"]["seconds"]
    assert result["gemm"]["flops_per_second"] > 1e8
    manifest = opened.manifest.model_copy(deep=True)
    manifest.categories["ring"].prototypes = None  # which alone decide early
    bare = profile(
        Bundle(opened.folder, manifest, opened.source), drawn_image(64), "ring", ["grouped"], provider="cpu", threads=1,
        repeats=1,
    )  # fmt: skip
    assert "cascade" not in bare["plans"]["grouped"]
