import numpy as np
import pytest

from edge_ad.bundle import Monitor
from edge_ad.calibration.drift import calibrated_model, fit_model
from edge_ad.calibration.vary import DRIFTS
from edge_ad.runtime.monitor import DriftModel, DriftMonitor, pool, statistics


def features(rng, count, size=24, shift=0.0):
    """Pooled features that vary together, as real ones do: a few causes, many features."""
    mixing = np.random.default_rng(5).normal(size=(4, size))
    values = rng.normal(size=(count, 4)) @ mixing + 0.3 * rng.normal(size=(count, size)) + 10 + shift
    return values.astype(np.float32)


def test_the_statistic_is_that_of_a_loop():
    values = np.random.default_rng(0).normal(size=(3, 40, 7)).astype(np.float32)
    found = statistics(values, 6)
    for stream, row in zip(values, found):
        expected = [6 * np.square(stream[i : i + 6].mean(axis=0)).mean() for i in range(35)]
        np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_the_whitening_is_ledoit_and_wolfs():
    covariance = pytest.importorskip("sklearn.covariance")
    pooled = features(np.random.default_rng(1), 18)
    model = fit_model(pooled, 8)
    standard = np.clip((pooled - model.centre) / model.scale, -5, 5)
    expected = covariance.LedoitWolf(assume_centered=True).fit(standard).covariance_
    np.testing.assert_allclose(np.linalg.inv(model.whitening.T @ model.whitening), expected, rtol=1e-3, atol=1e-4)


def test_fresh_good_pictures_are_silent_at_the_stated_rate_and_a_shift_is_not():
    alarms = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        model = calibrated_model(features(rng, 40), window=8, rate=0.05, horizon=100, seed=seed)
        for _ in range(10):
            alarms.append((statistics(model.whitened(features(rng, 100)), 8) > model.limit).any())
        shifted = statistics(model.whitened(features(rng, 100, shift=1.0)), 8)
        assert (shifted > model.limit).mean() > 0.9
    assert np.mean(alarms) <= 0.13  # 5 % stated; 80 streams, ten of a model


def test_the_monitor_follows_the_stream_and_forgets():
    rng = np.random.default_rng(3)
    model = calibrated_model(features(rng, 30), window=6, horizon=100)
    monitor, stream = DriftMonitor(model), features(rng, 20)
    expected = statistics(model.whitened(stream), 6)
    for i, row in enumerate(stream):
        drift = monitor.update(row)
        assert drift.pictures == min(i + 1, 6)
        if i < 5:
            assert (drift.changed, drift.statistic) == (False, None)
        else:
            assert drift.statistic == pytest.approx(expected[i - 5], rel=1e-4)
            assert drift.changed == (drift.statistic > model.limit)
    monitor.reset()
    assert monitor.update(stream[0]).statistic is None
    with pytest.raises(ValueError, match="pooled features"):
        monitor.update(stream[0][:-1])


def test_a_few_wild_pictures_are_no_drift_and_a_changed_camera_is():
    rng = np.random.default_rng(4)
    model = calibrated_model(features(rng, 60), window=12)
    monitor = DriftMonitor(model)
    for i in range(60):
        wild = 100.0 if i % 12 == 0 else 0.0
        assert not monitor.update(features(rng, 1, shift=wild)[0], rejected=bool(wild)).changed
    for _ in range(12):
        drift = monitor.update(features(rng, 1, shift=1.0)[0])
    assert drift.changed
    assert drift.message.startswith("the camera or the light has changed: ")
    for _ in range(12):
        drift = monitor.update(features(rng, 1, shift=1.0)[0], rejected=True)
    assert "or most parts are bad in the same way (12 of the last 12 are)" in drift.message


def test_the_model_survives_its_file():
    model = calibrated_model(features(np.random.default_rng(6), 20))
    entry = Monitor(
        file="a.npy", window=model.window, clip=model.clip, limit=model.limit, rate=0.05, horizon=200, images=20
    )
    again = DriftModel.of(entry, model.array())
    values = features(np.random.default_rng(7), 5)
    np.testing.assert_array_equal(again.whitened(values), model.whitened(values))


def test_too_few_pictures_and_pictures_all_alike():
    assert calibrated_model(features(np.random.default_rng(0), 9)) is None
    model = fit_model(np.ones((12, 5), np.float32), 4)
    assert np.isfinite(model.whitening).all()


def test_changes_of_camera_and_light_on_real_features(tiny_bundle, tiny_product):
    from edge_ad.runtime import Detector

    detector = Detector.load(tiny_bundle, provider="cpu", threads=1)
    assert detector.pooled(tiny_product(100)).ndim == 1
    good = np.stack([detector.pooled(tiny_product(100 + i)) for i in range(60)])
    model = calibrated_model(good[:36], window=8, horizon=50)
    assert not (statistics(model.whitened(good[36:]), 8) > model.limit).any()
    changed = 0
    for change in DRIFTS.values():
        values = np.stack([detector.pooled(change(tiny_product(200 + i))) for i in range(8)])
        changed += int(statistics(model.whitened(values), 8)[-1] > model.limit)
    assert changed >= len(DRIFTS) - 2


def test_pooling_is_mean_and_deviation():
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(pool(values)[:3], values.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pool(values)[3:], values.std((1, 2)), rtol=1e-5)
