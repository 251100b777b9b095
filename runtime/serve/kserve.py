"""The KServe v2 inference protocol over HTTP with its binary tensor extension, as Triton speaks it.

A product is a model. Inputs: `image` UINT8 N,H,W,3 or H,W,3 (RGB), or `encoded` BYTES N (image files); and `category`
BYTES, one or N, where the product has several. Outputs, N each: `verdict` BYTES, `score` FP32, `threshold` FP32 (NaN
without calibration), `normalised` FP32 (NaN likewise), `regions` BYTES (JSON), `record_id` BYTES.

Sources: the protocol at github.com/kserve/open-inference-protocol, and "Binary Tensor Data Extension" of Triton's docs.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from edge_ad.errors import BundleError
from edge_ad.runtime.serve.decision import Decision
from edge_ad.runtime.serve.station import Station
from edge_ad.runtime.serve.uploads import MAX_IMAGES
from edge_ad.version import __version__

HEADER_LENGTH = "Inference-Header-Content-Length"
INPUTS = (("image", "UINT8", [-1, -1, -1, 3]), ("encoded", "BYTES", [-1]), ("category", "BYTES", [-1]))
OUTPUTS = (
    ("verdict", "BYTES", [-1]), ("score", "FP32", [-1]), ("threshold", "FP32", [-1]), ("normalised", "FP32", [-1]),
    ("regions", "BYTES", [-1]), ("record_id", "BYTES", [-1]),
)  # fmt: skip
_EXTENSIONS = ["binary_tensor_data"]


def split_body(body: bytes, header_length: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON of a request and the binary data behind it. HTTPException 400 for anything else."""
    size = len(body)
    if header_length is not None:
        digits = header_length.isascii() and header_length.isdigit() and len(header_length) <= 12  # int() has a limit
        if not (digits and int(header_length) <= len(body)):
            raise HTTPException(400, f"{HEADER_LENGTH} must be the length of the JSON in bytes, {len(body)} at most")
        size = int(header_length)
    try:
        header = json.loads(body[:size])
    except (ValueError, RecursionError):
        raise HTTPException(400, "the request is not JSON") from None
    if not isinstance(header, dict):
        raise HTTPException(400, "the request must be a JSON object")
    return header, body[size:]


def read_request(
    body: bytes, header_length: str | None
) -> tuple[dict[str, Any], dict[str, NDArray[Any] | list[bytes]]]:
    """The JSON of a request and its tensors; see `split_body` and `read_inputs`. HTTPException 400."""
    header, binary = split_body(body, header_length)
    return header, read_inputs(header, binary)


def read_inputs(header: dict[str, Any], binary: bytes) -> dict[str, NDArray[Any] | list[bytes]]:
    """The tensors of a request by name: UINT8 as an array of its shape, BYTES as a list. HTTPException 400."""
    inputs = header.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(entry, dict) for entry in inputs):
        raise HTTPException(400, '"inputs" must be a list of tensors')
    tensors: dict[str, NDArray[Any] | list[bytes]] = {}
    place = 0
    for entry in inputs:
        name, kind, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
        expected = {known: of_kind for known, of_kind, _ in INPUTS}
        if not isinstance(name, str) or name not in expected:
            raise HTTPException(400, f"inputs are {', '.join(expected)}; there is none of the name that was given")
        if kind != expected[name]:
            raise HTTPException(400, f'input "{name}" must be {expected[name]}')
        if not isinstance(shape, list) or not all(type(side) is int and 0 < side < 1 << 31 for side in shape):
            raise HTTPException(400, f'the shape of input "{name}" must be a list of whole numbers above 0')
        parameters = entry.get("parameters") or {}
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(binary) - place:
                raise HTTPException(400, f'binary_data_size of input "{name}" is more than was sent')
            raw, place = binary[place : place + size], place + size
            tensors[name] = _from_binary(name, kind, shape, raw)
        else:
            tensors[name] = _from_json(name, kind, shape, entry.get("data"))
    if place != len(binary):
        raise HTTPException(400, f"{len(binary) - place} bytes were sent that belong to no input")
    return tensors


def _from_binary(name: str, kind: str, shape: list[int], raw: bytes) -> NDArray[Any] | list[bytes]:
    count = math.prod(shape)
    if kind == "UINT8":
        if len(raw) != count:
            raise HTTPException(400, f'input "{name}" has {len(raw)} bytes, its shape needs {count}')
        return np.frombuffer(raw, np.uint8).reshape(shape)
    items, place = [], 0
    while place < len(raw):
        if place + 4 > len(raw):
            raise HTTPException(400, f'input "{name}" is cut off')
        (size,) = struct.unpack_from("<I", raw, place)
        if place + 4 + size > len(raw):
            raise HTTPException(400, f'input "{name}" is cut off')
        items.append(raw[place + 4 : place + 4 + size])
        place += 4 + size
    if len(items) != count:
        raise HTTPException(400, f'input "{name}" has {len(items)} items, its shape needs {count}')
    return items


def _from_json(name: str, kind: str, shape: list[int], data: Any) -> NDArray[Any] | list[bytes]:
    count = math.prod(shape)
    try:
        array = np.array(data, dtype=object).reshape(-1)
    except ValueError:
        raise HTTPException(400, f'the data of input "{name}" must be a regular list') from None
    if len(array) != count:
        raise HTTPException(400, f'input "{name}" has {len(array)} items, its shape needs {count}')
    if kind == "UINT8":
        if not all(type(value) is int and 0 <= value <= 255 for value in array):
            raise HTTPException(400, f'the data of input "{name}" must be whole numbers from 0 to 255')
        return array.astype(np.uint8).reshape(shape)
    if not all(isinstance(value, str) for value in array):
        raise HTTPException(400, f'the data of input "{name}" must be text')
    try:
        return [value.encode() for value in array]
    except UnicodeEncodeError:
        raise HTTPException(400, f'the data of input "{name}" is no valid text') from None


def write_outputs(
    header: dict[str, Any], model: str, values: dict[str, list[Any]]
) -> tuple[dict[str, Any], list[bytes]]:
    """The JSON of an answer, and the binary data of the outputs that were asked for so. HTTPException 400.

    values: for each output a list of str or float.
    """
    wanted = header.get("outputs") or [{"name": name} for name, _, _ in OUTPUTS]
    overall = header.get("parameters") or {}
    if not isinstance(wanted, list) or not all(isinstance(entry, dict) for entry in wanted):
        raise HTTPException(400, '"outputs" must be a list of tensors')
    kinds = {name: kind for name, kind, _ in OUTPUTS}
    outputs, blobs = [], []
    for entry in wanted:
        name = entry.get("name")
        if not isinstance(name, str) or name not in kinds:
            raise HTTPException(400, f"outputs are {', '.join(kinds)}; there is none of the name that was asked for")
        items, kind = values[name], kinds[name]
        about: dict[str, Any] = {"name": name, "datatype": kind, "shape": [len(items)]}
        default = bool(isinstance(overall, dict) and overall.get("binary_data_output"))
        parameters = entry.get("parameters")
        if parameters.get("binary_data", default) if isinstance(parameters, dict) else default:
            blob = _to_binary(kind, items)
            about["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:  # JSON has no NaN
            about["data"] = [None if isinstance(item, float) and math.isnan(item) else item for item in items]
        outputs.append(about)
    answer = {"model_name": model, "model_version": "1", "outputs": outputs}
    if isinstance(header.get("id"), str):
        answer["id"] = header["id"]
    return answer, blobs


def _to_binary(kind: str, items: Sequence[Any]) -> bytes:
    if kind == "FP32":
        return np.array(items, "<f4").tobytes()
    return b"".join(struct.pack("<I", len(text)) + text for text in (item.encode() for item in items))


def values_of(decisions: Sequence[Decision]) -> dict[str, list[Any]]:
    """The outputs of some decisions."""
    nan = float("nan")
    return {
        "verdict": [decision.verdict for decision in decisions],
        "score": [decision.score for decision in decisions],
        "threshold": [nan if decision.threshold is None else decision.threshold for decision in decisions],
        "normalised": [nan if decision.normalised is None else decision.normalised for decision in decisions],
        "regions": [json.dumps([region.model_dump() for region in decision.regions]) for decision in decisions],
        "record_id": [decision.record_id for decision in decisions],
    }


def make_router(station: Station) -> APIRouter:
    """The routes of one station."""
    router = APIRouter(prefix="/v2", tags=["KServe v2"])

    def known(model: str, version: str = "1") -> None:
        if model not in station.products or version != "1":
            raise BundleError(f'there is no model "{model[:64]}" of version {version[:8]}')

    @router.get("")
    async def server() -> dict[str, Any]:
        return {"name": "edge-ad", "version": __version__, "extensions": _EXTENSIONS}

    @router.get("/health/live")
    async def live() -> Response:
        """200 while the process answers."""
        return JSONResponse({"live": True})

    @router.get("/health/ready")
    async def ready() -> Response:
        """200 when an image would be inspected now, 503 otherwise."""
        return JSONResponse({"ready": station.ready}, 200 if station.ready else 503)

    @router.get("/models/{model}/versions/{version}/ready", include_in_schema=False)
    @router.get("/models/{model}/ready")
    async def model_ready(model: str, version: str = "1") -> Response:
        """200 when the product is loaded and the station ready."""
        known(model, version)
        return JSONResponse({"name": model, "ready": station.ready}, 200 if station.ready else 503)

    @router.get("/models/{model}/versions/{version}", include_in_schema=False)
    @router.get("/models/{model}")
    async def metadata(model: str, version: str = "1") -> dict[str, Any]:
        """The tensors of a model."""
        known(model, version)

        def specs(tensors: Sequence[tuple[str, str, list[int]]]) -> list[dict[str, Any]]:
            return [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in tensors]

        return {
            "name": model,
            "versions": ["1"],
            "platform": "edge-ad",
            "inputs": specs(INPUTS),
            "outputs": specs(OUTPUTS),
        }

    @router.post("/models/{model}/versions/{version}/infer", include_in_schema=False)
    @router.post("/models/{model}/infer")
    async def infer(request: Request, model: str, version: str = "1") -> Response:
        """Decide on images; JSON, or JSON with binary tensors behind it."""
        known(model, version)
        with station.upload():
            body = await request.body()
            # in a thread: the numbers of a large picture in JSON take a while
            header, tensors = await asyncio.to_thread(read_request, body, request.headers.get(HEADER_LENGTH))
        images = images_of(tensors)
        names: list[str | None] = [None] * len(images)
        if "category" in tensors:
            given = [bytes(name).decode("utf-8", "replace") for name in tensors["category"]]
            if len(given) not in (1, len(images)):
                raise HTTPException(400, f"{len(images)} images with {len(given)} categories: give one, or one each")
            names = [*given] * (len(images) if len(given) == 1 else 1)
        write_outputs(header, model, {name: [] for name, _, _ in OUTPUTS})  # refuse before any work
        # the protocol has one answer for all: one that said no to some would have the others sent again
        decisions = await station.inspect_all(images, names, product=model, source="kserve")
        answer, blobs = write_outputs(header, model, values_of(decisions))
        text = json.dumps(answer).encode()
        if not blobs:
            return Response(text, media_type="application/json")
        return Response(
            b"".join([text, *blobs]), media_type="application/octet-stream", headers={HEADER_LENGTH: str(len(text))}
        )

    return router


def images_of(tensors: dict[str, Any]) -> list[bytes | NDArray[np.uint8]]:
    """The images of a request's tensors: files, or uint8 H,W,3. HTTPException 400."""
    if ("image" in tensors) == ("encoded" in tensors):
        raise HTTPException(400, 'give either the input "image" or the input "encoded"')
    if "encoded" in tensors:
        images: list[bytes | NDArray[np.uint8]] = list(tensors["encoded"])
    else:
        array = tensors["image"]
        batch = array[None] if array.ndim == 3 else array
        if batch.ndim != 4 or batch.shape[3] != 3:
            raise HTTPException(400, 'the shape of input "image" must be N,H,W,3 or H,W,3')
        images = list(batch)
    if len(images) > MAX_IMAGES:
        raise HTTPException(400, f"{MAX_IMAGES} images at most in one request")
    return images
