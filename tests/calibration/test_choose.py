import json

import numpy as np
import pytest

from edge_ad.bundle import Weights
from edge_ad.bundle_files import Bundle, read_manifest
from edge_ad.calibration.cache import Cache
from edge_ad.calibration.choose import Trial, _best, choose, like, schedule_of, weight_grid, with_schedule
from edge_ad.calibration.levels import set_level
from edge_ad.calibration.material import Item
from edge_ad.calibration.measure import area_level, settings_of
from edge_ad.calibration.shots import bank_without
from edge_ad.images import resize_image
from edge_ad.regions import find_regions
from edge_ad.runtime import Detector
from edge_ad.runtime.fusion import fused


@pytest.fixture(scope="module")
def detector(tiny_bundle):
    return Detector.load(tiny_bundle, provider="cpu", threads=1)


@pytest.mark.parametrize("plan", ["grouped", "paper"])
def test_fusion_in_numpy_is_the_score_graphs(detector, tiny_bundle, tiny_product, plan):
    one = detector if plan == "grouped" else Detector.load(tiny_bundle, provider="cpu", threads=1, plan=plan)
    weights = one.plan.weights
    for changed in ({}, {"alpha": 0.3, "map_power": 0.7, "error_power": 0.5, "top": 0.4, "reference": 0.0}):
        wanted = weights.model_copy(update=changed)
        manifest = one.bundle.manifest.model_copy(deep=True)
        manifest.categories["ring"].weights[plan] = wanted
        evidence = one.variant(manifest).evidence(tiny_product(1), "ring")
        score_map, score = fused(evidence, wanted, evidence["levels"])
        np.testing.assert_allclose(score_map, evidence["score_map"], rtol=2e-3, atol=1e-7)
        assert score == pytest.approx(float(evidence["score"]), rel=1e-3)
    with pytest.raises(ValueError, match="between"):
        fused(evidence, Weights(reference=0.5), evidence["levels"])


def test_schedules_of_other_strengths_are_made_as_the_present_one(tiny_bundle):
    manifest = read_manifest(tiny_bundle)
    for schedule in manifest.schedules.values():
        make = like(schedule, manifest.noise)
        assert make(schedule.noise_strength) == schedule
        assert make(0.6).timesteps[0] > schedule.timesteps[0]
        varied = with_schedule(manifest, "ring", "grouped", make(0.6))
        assert varied.schedules[varied.categories["ring"].schedules["grouped"]].noise_strength == 0.6
        assert manifest.categories["ring"].schedules == {}
    foreign = manifest.schedules["grouped"].model_copy(
        update={"timesteps": [7.0] * manifest.schedules["grouped"].steps}
    )
    with pytest.raises(ValueError, match="not made by"):
        like(foreign, manifest.noise)


def test_a_shot_is_compared_with_the_others_prototypes(detector, tiny_bundle, tiny_shots):
    from edge_ad.images import read_image

    image = read_image(tiny_shots["ring"][0])
    without = detector.variant(banks={"ring": bank_without(detector.bundle, "ring", (0,))})
    assert without.error_map(image, "ring").mean() > 2 * detector.error_map(image, "ring").mean()
    with Bundle.open(tiny_bundle) as bundle:
        entry = bundle.category("ring")
        rows, origin = bundle.array(entry.prototypes), bundle.array(entry.prototype_shots)
    assert origin.shape == rows.shape[:1]
    assert set(origin) == set(range(len(tiny_shots["ring"])))


def test_the_present_setting_stays_unless_another_is_surely_better():
    rng = np.random.default_rng(0)
    bad = np.repeat([False, True], [12, 24])
    grid = [Weights(), Weights(alpha=0.3)]
    noise = rng.normal(size=(3, 36, 2))
    precision = np.full((3, 24, 2), 0.5)
    kept = _best([0.2, 0.4, 0.6], grid, noise + 1.0 * bad[None, :, None], precision, bad, (1, 0))
    better = noise.copy()
    better[2, :, 1] += 6 * bad
    found = _best([0.2, 0.4, 0.6], grid, better, precision, bad, (1, 0))
    assert (found.strength, found.fusion.alpha) == (0.6, 0.3)
    assert found.gain > found.error
    assert kept.best == (1, 0) or kept.gain > kept.error
    same = _best([0.2, 0.4], grid, np.zeros((2, 36, 2)), precision[:2], bad, (1, 1))
    assert same.best == (1, 1)
    assert found.record()["curve"][2]["lambda"] == 0.6


def test_another_strength_is_judged_by_its_own_level(detector, tiny_shots, tiny_product, tmp_path):
    """The scores that λ is chosen with are those that the detector will give with it."""
    item = Item(tiny_shots["ring"][0], "a")
    image = resize_image(tiny_product(3), detector.image_size)
    mask = np.zeros(image.shape[:2], bool)
    mask[20:30, 20:30] = True
    cache = Cache(tmp_path / "cache.jsonl")
    pictures = [Trial(image, None, ()), Trial(image, mask, ())]
    found = choose(detector, "ring", [(item, ())], pictures, (0.6,), None, cache)
    assert found.strengths == [0.4, 0.6]
    records = [json.loads(line) for line in cache.path.read_text().splitlines()]
    scores = [record["value"]["scores"][0] for record in records if record["key"].startswith("trial")]
    manifest = detector.bundle.manifest
    other = with_schedule(manifest, "ring", "grouped", schedule_of(detector, manifest, "ring", 0.6))
    set_level(detector, other, "ring", [(item, ())], cache)
    assert other.categories["ring"].levels.by_plan != manifest.categories["ring"].levels.by_plan
    wanted = [one.inspect(image, "ring").score for one in (detector, detector.variant(other))]
    assert scores[::2] == pytest.approx(wanted, rel=1e-3)
    assert (found.level is None) == (found.strength == 0.4)


def test_what_is_kept_of_a_trial_is_that_of_its_mask(tiny_product):
    image = tiny_product(1)
    masks = [None, np.zeros(image.shape[:2], bool), np.ones(image.shape[:2], bool)]
    keys = {Trial(image, mask, own).key for mask in masks for own in ((), (0,), None)}
    assert len(keys) == 9


def test_what_is_kept_depends_on_version_library_and_machine(detector, monkeypatch):
    import onnxruntime

    from edge_ad.calibration import cache

    assert settings_of(detector)["runs_on"].startswith(f"onnxruntime {onnxruntime.__version__}, ")
    before = cache.context(detector.bundle.manifest, "ring", "grouped", **settings_of(detector))
    monkeypatch.setattr(cache, "__version__", "0.0.1")
    assert cache.context(detector.bundle.manifest, "ring", "grouped", **settings_of(detector)) != before


def test_the_grid_holds_the_present_weights():
    for weights in (Weights(alpha=0.17), Weights(alpha=0.0, map_power=0.3, error_power=1.0)):
        assert weights in weight_grid(weights, True)
        assert weights in weight_grid(weights, False)
    assert {w.map_power for w in weight_grid(Weights(error_power=1.0), False)} == {1.0}


def test_area_level_is_the_highest_threshold_that_leaves_a_region():
    rng = np.random.default_rng(0)
    for _ in range(20):
        score_map = rng.integers(0, 12, (9, 11)).astype(np.float32)
        for area in (1, 2, 5, 30, 99, 200):
            known = [float(v) for v in np.unique(score_map) if find_regions(score_map, v, area)]
            assert area_level(score_map, area) == (max(known) if known else score_map.min())
