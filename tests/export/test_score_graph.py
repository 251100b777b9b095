"""The score graph against the paper's equations, written out slowly."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
ndimage = pytest.importorskip("scipy.ndimage")

SIZE = 64


@pytest.fixture(scope="module")
def case():
    from edge_ad.export.graphs.score import score_case
    from edge_ad.training.perceptual import PerceptualNet, best_available

    torch.set_num_threads(1)
    return score_case(PerceptualNet(best_available()), SIZE, SIZE // 8, np.random.default_rng(3))


def upsampled(x):
    return torch.nn.functional.interpolate(x, size=(SIZE, SIZE), mode="bilinear", align_corners=False).double().numpy()


def distance(net, reference, picture):
    """D(x, x̂) of eq. 16 and 17, one picture, one layer and one position's channel sum at a time: float64 H,W."""
    total = np.zeros((SIZE, SIZE))
    for layer, (a, b) in enumerate(zip(net.features(reference), net.features(picture))):
        w = getattr(net, f"lin{layer}").numpy()  # w² of the paper
        squared = (a - b).numpy()[0] ** 2
        d = sum(w[c] * squared[c] for c in range(len(w)))
        total += upsampled(torch.tensor(d)[None, None])[0, 0]
    return total


def reference_outputs(net, inputs):
    x = inputs["image"].permute(0, 3, 1, 2).float() / 127.5 - 1
    alpha, r, p_s, p_e, t, floor = inputs["weights"].double().tolist()
    ref = r * inputs["reconstruction"] + (1 - r) * x
    maps = [distance(net, ref, inputs["inpainted"][k : k + 1]) for k in range(len(inputs["inpainted"]))]
    masks = inputs["masks"][:, 0].double().numpy()
    scale_maps = []
    for row in inputs["membership"].numpy():
        scale_maps.append(sum(m * d for use, m, d in zip(row, masks, maps) if use))  # eq. 18
    harmonic = len(scale_maps) / sum(1 / (s + 1e-8) for s in scale_maps)  # eq. 19
    prototype_map = sum(m * d for use, m, d in zip(inputs["prototype"].numpy(), masks, maps) if use)  # eq. 20
    fused = (1 - alpha) * harmonic + alpha * prototype_map  # eq. 21
    sigma = 4 * SIZE / 512
    s = ndimage.gaussian_filter(fused, sigma, mode="nearest", truncate=4)
    e = ndimage.gaussian_filter(upsampled(inputs["error"])[0, 0], sigma, mode="nearest", truncate=4)
    levels = inputs["levels"].double().numpy()
    score_map = (np.maximum(s / levels[0], floor) + 1e-8) ** p_s * (e / levels[1] + 1e-8) ** p_e
    highest = np.sort(score_map.ravel())[::-1][: round(0.005 * SIZE * SIZE)]
    score = (1 - t) * highest[0] + t * highest.mean()
    return {"score_map": score_map, "score": score, "scale_maps": np.stack(scale_maps), "prototype_map": prototype_map,
            "error_map": e}  # fmt: skip


@pytest.mark.parametrize(
    "weights",
    [
        [0.1, 0, 1, 0, 0, 0],
        [0.1, 1, 1, 1, 1, 0],
        [0.3, 0.5, 0.7, 1.5, 0.4, 0.2],
        [0, 0, 1, 0, 0, 0],
        [1, 0, 2, 0, 1, 1],
    ],
)
def test_the_score_is_that_of_the_equations(case, weights):
    levels = torch.rand(2, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) + 0.5
    inputs = {**case.inputs, "weights": torch.tensor(weights, dtype=torch.float32), "levels": levels}
    with torch.no_grad():
        found = dict(zip(case.outputs, case.module(**inputs)))
    for name, expected in reference_outputs(case.module.perceptual, inputs).items():
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=2e-3, atol=1e-5, err_msg=name)


def test_the_papers_weights_leave_the_prototype_error_out(case):
    """Prototype power 0: E changes nothing; reference 0: the reconstruction changes nothing."""
    weights = torch.tensor([0.1, 0.0, 1.0, 0.0, 0.0, 0.0])
    with torch.no_grad():
        first = case.module(**{**case.inputs, "weights": weights})
        changed = {"error": case.inputs["error"] * 9 + 1, "reconstruction": -case.inputs["reconstruction"]}
        second = case.module(**{**case.inputs, "weights": weights, **changed})
    torch.testing.assert_close(first[0], second[0])
    assert first[1] == first[0].max()


def test_an_untouched_picture_has_no_evidence(case):
    x = case.inputs["image"].permute(0, 3, 1, 2).float() / 127.5 - 1
    inputs = {
        **case.inputs,
        "inpainted": x.expand(4, -1, -1, -1),
        "weights": torch.tensor([0.1, 0.0, 1.0, 0.0, 0.0, 0.0]),
    }
    with torch.no_grad():
        assert case.module(**inputs)[1] < 1e-6
