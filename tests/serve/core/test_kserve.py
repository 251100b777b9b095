"""Triton's own client against the station, and the protocol's codec."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from edge_ad.images import decode_image
from edge_ad.runtime.serve.kserve import read_inputs, split_body, write_outputs
from edge_ad.runtime.serve.pictures import png
from tests.serve.core.conftest import Live, png_bytes, until


@pytest.fixture(scope="module")
def triton(live: Live):
    http = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    with http.InferenceServerClient(f"127.0.0.1:{live.port}") as client:
        yield http, client


def test_health_and_metadata(triton) -> None:
    _, client = triton
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("line")
    assert not client.is_model_ready("none")
    assert client.get_server_metadata()["name"] == "edge-ad"
    names = [tensor["name"] for tensor in client.get_model_metadata("line")["inputs"]]
    assert names == ["image", "encoded", "category"]


@pytest.mark.parametrize("binary", [True, False])
def test_images_as_tensors(triton, live: Live, binary: bool) -> None:
    http, client = triton
    images = np.stack([decode_image(png_bytes(seed, 8, 12)) for seed in (1, 2)])
    tensor = http.InferInput("image", list(images.shape), "UINT8").set_data_from_numpy(images, binary_data=binary)
    category = http.InferInput("category", [1], "BYTES")
    category.set_data_from_numpy(np.array(["ring"], dtype=object), binary_data=binary)
    wanted = [
        http.InferRequestedOutput(name, binary_data=binary) for name in ("verdict", "score", "record_id", "threshold")
    ]
    result = client.infer("line", [tensor, category], outputs=wanted, request_id="7")
    assert result.get_response()["id"] == "7"
    for i in range(2):
        key = result.as_numpy("record_id")[i]
        record = live.json(f"/v1/records/{key.decode() if isinstance(key, bytes) else key}")
        assert record["source"] == "kserve"
        assert result.as_numpy("score")[i] == pytest.approx(record["score"], rel=1e-6)
        verdict = result.as_numpy("verdict")[i]
        assert (verdict.decode() if isinstance(verdict, bytes) else verdict) == record["verdict"]
    assert result.as_numpy("threshold").tolist() == [0.5, 0.5]


def test_image_files(triton) -> None:
    http, client = triton
    files = np.array([png_bytes(3), png_bytes(4)], dtype=object)
    tensor = http.InferInput("encoded", [2], "BYTES").set_data_from_numpy(files)
    category = http.InferInput("category", [2], "BYTES").set_data_from_numpy(np.array(["ring", "weave"], dtype=object))
    result = client.infer("line", [tensor, category])
    assert isinstance(json.loads(result.as_numpy("regions")[0]), list)
    assert result.as_numpy("normalised").shape == (2,)


def test_errors_reach_the_client(triton) -> None:
    http, client = triton
    tensor = http.InferInput("image", [4, 4, 3], "UINT8").set_data_from_numpy(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(http.InferenceServerException, match="say which category"):
        client.infer("line", [tensor])
    with pytest.raises(http.InferenceServerException, match="no model"):
        client.infer("none", [tensor])


def bytes_tensor(items: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def infer(live: Live, *images: bytes, categories: list[str]) -> tuple[int, dict[str, str], dict]:
    """One request of image files: status, headers, JSON."""
    blob = bytes_tensor(list(images))
    about = {"name": "encoded", "datatype": "BYTES", "shape": [len(images)]}
    names = {"name": "category", "datatype": "BYTES", "shape": [len(categories)], "data": categories}
    text = json.dumps({"inputs": [{**about, "parameters": {"binary_data_size": len(blob)}}, names]}).encode()
    length = {"Inference-Header-Content-Length": str(len(text))}
    status, headers, body = live.call("POST", "/v2/models/line/infer", text + blob, length)
    return status, headers, json.loads(body)


def test_several_images_are_decided_together_or_not_at_all(live: Live) -> None:
    good = [png_bytes(seed) for seed in range(40, 49)]
    before = live.json("/v1/status")["counts"]["total"]
    for images, categories, code, words in (
        (good, ["ring"], 400, "the queue of 8"),
        ([good[0], good[1][:-200], good[2]], ["ring"], 400, "damaged"),  # its header is in order
        ([good[0], b"no image", good[2]], ["ring"], 415, "not an image"),
        ([good[0], png(np.zeros((800, 800, 3), np.uint8)), good[2]], ["ring"], 413, "pixels"),
        (good[:3], ["ring", "weave", "nut"], 404, 'no category "nut"'),
    ):
        status, _, answer = infer(live, *images, categories=categories)
        assert (status, words in answer["error"]) == (code, True), answer
    until(lambda: live.json("/v1/status")["queue"]["length"] == 0)
    assert live.json("/v1/status")["counts"]["total"] == before
    status, _, answer = infer(live, *good[:8], categories=["ring"])
    assert (status, len(answer["outputs"][0]["data"])) == (200, 8)
    assert live.json("/v1/status")["counts"]["total"] == before + 8


def test_the_length_of_the_json_has_few_digits() -> None:
    with pytest.raises(HTTPException, match="must be the length of the JSON"):
        split_body(b"{}", "0" * 5000)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5), st.integers(1, 3), st.integers(1, 3))
def test_tensors_come_back_as_they_were_sent(items: list[bytes], height: int, width: int) -> None:
    image = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    blobs = [image.tobytes(), bytes_tensor(items)]
    header = {"inputs": [
        {"name": "image", "datatype": "UINT8", "shape": list(image.shape),
         "parameters": {"binary_data_size": len(blobs[0])}},
        {"name": "encoded", "datatype": "BYTES", "shape": [len(items)],
         "parameters": {"binary_data_size": len(blobs[1])}},
    ]}  # fmt: skip
    text = json.dumps(header).encode()
    tensors = read_inputs(*split_body(text + b"".join(blobs), str(len(text))))
    assert np.array_equal(tensors["image"], image)
    assert tensors["encoded"] == items


def test_text_that_is_none_is_refused() -> None:
    entry = {"name": "category", "datatype": "BYTES", "shape": [1], "data": ["\ud800"]}
    with pytest.raises(HTTPException, match="no valid text"):
        read_inputs({"inputs": [entry]}, b"")


KEYS = ["name", "datatype", "shape", "data", "parameters", "binary_data_size", "inputs", "outputs"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(KEYS), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300)
@given(JSON, JSON, st.binary(max_size=30))
def test_whatever_is_sent_is_read_or_refused(inputs: object, outputs: object, binary: bytes) -> None:
    header = {
        "inputs": [
            {"name": "image", "datatype": "UINT8", "shape": [1], "data": [1], **part}
            for part in [inputs]
            if isinstance(part, dict)
        ]
        or inputs,
        "outputs": outputs,
    }
    text = json.dumps(header).encode()
    try:
        parsed, rest = split_body(text + binary, str(len(text)))
        read_inputs(parsed, rest)
        write_outputs(
            parsed, "m", {name: [] for name in ("verdict", "score", "threshold", "normalised", "regions", "record_id")}
        )
    except HTTPException as error:
        assert error.status_code == 400  # noqa: PT017  (or none at all)


@given(st.binary(max_size=40), st.text(max_size=5) | st.none())
def test_bodies_are_read_or_refused(body: bytes, length: str | None) -> None:
    try:
        split_body(body, length)
    except HTTPException as error:
        assert error.status_code == 400  # noqa: PT017  (or none at all)
