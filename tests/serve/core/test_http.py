"""The HTTP interface of a real station."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.serve.core.conftest import Live, form, png_bytes


def test_a_decision_is_answered_recorded_and_shown(live: Live) -> None:
    data = png_bytes(1)
    status, answer = live.inspect(data, "category=ring&product=line")
    assert status == 200, answer
    assert answer["verdict"] == ("bad" if answer["score"] >= 0.5 else "good")
    assert answer["threshold"] == 0.5
    assert (answer["normalised"] >= 0.5) == (answer["verdict"] == "bad")
    assert (answer["width"], answer["height"]) == (64, 48)
    for region in answer["regions"]:
        assert region["x"] + region["width"] <= 64
        assert region["y"] + region["height"] <= 48
    assert live.json(f"/v1/records/{answer['record_id']}") == {k: v for k, v in answer.items() if k != "inline"}
    assert answer["times"]["total"] >= answer["times"]["denoise"] > 0
    sizes = {}
    for kind, link in answer["pictures"].items():
        status, headers, body = live.call("GET", link)
        assert (status, headers["content-type"]) == (200, "image/png")
        assert hashlib.sha256(body).hexdigest() in link
        sizes[kind] = Image.open(io.BytesIO(body)).size
        if kind == "image":
            assert body == data
    assert sizes == {"image": (64, 48), "map": (64, 48), "inpainted": (64, 48)}


def test_the_verdict_is_the_detectors(live: Live, calibrated) -> None:
    from edge_ad.images import decode_image
    from edge_ad.runtime import Detector

    data = png_bytes(2, 90, 70)
    status, answer = live.inspect(data, "category=weave&pictures=inline")
    assert status == 200
    found = Detector.load(calibrated, provider="cpu", threads=1).inspect(decode_image(data), "weave", inpainted=True)
    assert answer["score"] == pytest.approx(found.score, rel=1e-4)
    assert answer["verdict"] == found.verdict
    boxes = [(r["x"], r["y"], r["width"], r["height"]) for r in answer["regions"]]
    assert boxes == [(r.x, r.y, r.width, r.height) for r in found.regions]
    assert set(answer["inline"]) == {"map", "inpainted"}
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["inline"]["inpainted"]))))
    expected = np.asarray(Image.fromarray(found.inpainted).resize((50, 64), Image.Resampling.BICUBIC))
    assert np.abs(picture.astype(int) - expected).max() <= 2


def test_batches_keep_their_order_and_their_errors(live: Live) -> None:
    body, headers = form({"category": "ring"}, png_bytes(3), b"no image", png_bytes(4))
    status, _, answer = live.call("POST", "/v1/inspect/batch", body, headers)
    results = json.loads(answer)["results"]
    assert status == 200
    assert [result["error"] and result["error"]["code"] for result in results] == [None, "not_an_image", None]
    alone = live.inspect(png_bytes(4))[1]
    assert results[2]["decision"]["score"] == pytest.approx(alone["score"], rel=1e-3)
    body, headers = form({"category": "ring"}, png_bytes(3))
    assert live.call("POST", "/v1/inspect", body, headers)[0] == 200


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("category=nut", 404, 'no category "nut"; the station has ring, weave'),
        ("category=ring&product=x", 404, 'no product "x"'),
        ("", 400, "say which category it is: ring, weave"),
        ("category=ring&deadline_s=nan", 400, "deadline_s must be"),
        ("category=ring&pictures=all", 400, "pictures must be"),
        ("category=ring&deadline_s=0.000001", 504, "no decision within"),
    ],
)
def test_wrong_requests_are_told_in_a_sentence(live: Live, query: str, status: int, words: str) -> None:
    before = len(live.json("/v1/records?limit=500")["records"])
    found, answer = live.inspect(png_bytes(5), query)
    assert (found, words in answer["error"]["message"]) == (status, True), answer
    time.sleep(0.2)
    assert len(live.json("/v1/records?limit=500")["records"]) == before


def test_text_that_no_answer_can_repeat_is_refused(live: Live) -> None:
    """UTF-7 brings half a surrogate pair."""
    body, headers = form({"category": "+2AA-"}, png_bytes(5))
    for path in ("/v1/inspect", "/v1/inspect/batch"):
        status, _, answer = live.call("POST", path, body, {"Content-Type": headers["Content-Type"] + "; charset=utf-7"})
        assert (status, "no valid text" in json.loads(answer)["error"]["message"]) == (400, True)
    assert not live.lines("Exception in ASGI application\n")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_bombs_and_large_uploads_are_refused(live: Live) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )
    assert live.inspect(bomb)[0] == 413
    huge = struct.pack(">IIBBBBB", 800, 800, 8, 2, 0, 0, 0)  # above the station's limit, below Pillow's
    assert (
        live.inspect(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", huge) + chunk(b"IDAT", zlib.compress(bytes(800 * 2401))))[0]
        == 413
    )
    assert live.inspect(bytes((1 << 20) + 1))[0] == 413
    assert live.inspect(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")[0] == 415
    status, _, body = live.call("POST", "/v1/inspect?category=ring", b"{}", {"Content-Type": "application/json"})
    assert (status, json.loads(body)["error"]["code"]) == (415, "not_an_image")


def test_a_chunked_upload_is_counted_as_it_comes(live: Live) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=30)
    try:
        blocks = (bytes(1 << 16) for _ in range(64))
        connection.request(
            "POST", "/v1/inspect?category=ring", blocks, {"Content-Type": "image/png"}, encode_chunked=True
        )
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # the station hung up before everything was sent
    finally:
        connection.close()
    assert live.json("/v1/status")["ready"]


def test_hundreds_of_malformed_uploads_change_nothing(live: Live) -> None:
    rng = random.Random(0)
    good = png_bytes(6)
    before = live.json("/v1/status")["counts"]["total"]
    good_form, headers = form({"category": "ring"}, good)

    def broken(i: int) -> int:
        data = bytearray(good if i % 2 else good_form)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        data = data[: rng.randrange(len(data))] if rng.random() < 0.7 else data
        kind = {"Content-Type": "image/png"} if i % 2 else headers
        if rng.random() < 0.1:
            kind = {
                "Content-Type": rng.choice(
                    ["multipart/form-data", "multipart/form-data; boundary=", "x/y", "ä/é".encode().decode("latin1")]
                )
            }
        return live.call("POST", "/v1/inspect?category=ring", bytes(data), kind)[0]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(broken, range(300)))
    assert set(answers) <= {200, 400, 413, 415, 503}, sorted(set(answers))
    assert answers.count(200) < 60  # a flipped bit of a name or of a comment may be harmless
    assert live.json("/v1/status")["counts"]["total"] - before == answers.count(200)
    assert live.process.poll() is None
    assert not live.lines("Exception in ASGI application\n")


def test_overload_answers_503_and_every_decision_once(live: Live) -> None:
    before = {record["record_id"] for record in live.json("/v1/records?limit=500")["records"]}
    results: list[tuple[int, dict]] = []

    def ask(seed: int) -> None:
        body = png_bytes(100 + seed)
        status, headers, answer = live.call("POST", "/v1/inspect?category=ring", body, {"Content-Type": "image/png"})
        if status == 503:
            assert int(headers["retry-after"]) >= 1
        results.append((status, json.loads(answer)))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _ in results} == {200, 503}
    answered = [answer["record_id"] for status, answer in results if status == 200]
    recorded = {record["record_id"] for record in live.json("/v1/records?limit=500")["records"]} - before
    assert len(answered) == len(set(answered))
    assert set(answered) == recorded


def test_records_page_filter_and_take_a_persons_word(live: Live) -> None:
    for seed in range(3):
        assert live.inspect(png_bytes(20 + seed), "category=weave")[0] == 200
    everything = live.json("/v1/records?limit=500")["records"]
    page = live.json("/v1/records?limit=2")
    rest = live.json(f"/v1/records?limit=500&before={page['next']}")
    assert page["records"] + rest["records"] == everything
    assert rest["next"] is None
    weave = [record for record in everything if record["category"] == "weave"]
    assert live.json("/v1/records?category=weave&limit=500")["records"] == weave
    times = sorted(record["time"] for record in everything)
    between = live.json(f"/v1/records?since={times[1]}&until={times[-1]}&limit=500")["records"]
    assert {r["record_id"] for r in between} == {
        r["record_id"] for r in everything if times[1] <= r["time"] < times[-1]
    }
    first = weave[0]
    other = "good" if first["verdict"] == "bad" else "bad"
    status, judged = live.put("PUT", f"/v1/records/{first['record_id']}/verdict", {"verdict": other, "note": "a hair"})
    assert status == 200
    assert (judged["operator_verdict"], judged["note"], judged["verdict"]) == (other, "a hair", first["verdict"])
    assert live.json("/v1/records?verdict=corrected")["records"] == [judged]
    assert live.put("PUT", f"/v1/records/{first['record_id']}/verdict", {"verdict": "maybe"})[0] == 422
    assert live.put("PUT", "/v1/records/none/verdict", {"verdict": "good"})[0] == 404
    points = live.json("/v1/trend?category=weave&limit=2")["points"]
    assert [point["record_id"] for point in points] == [record["record_id"] for record in weave[1::-1]]
    for path in ("records?since=yesterday", "records?verdict=odd", "records?limit=0"):
        assert live.call("GET", f"/v1/{path}")[0] in (400, 422)


def test_pictures_are_named_by_hash_alone(live: Live) -> None:
    for name in ("..%2f..%2frecords.sqlite", "0" * 64, "A" * 64, "0" * 63):
        assert live.call("GET", f"/v1/pictures/{name}.png")[0] in (404, 422)
    assert live.call("GET", "/static/..%2f..%2fserver.py")[0] == 404


def test_events_tell_of_decisions_and_states(live: Live) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=30)
    connection.request("GET", "/v1/events")
    answer = connection.getresponse()
    assert answer.getheader("content-type").startswith("text/event-stream")

    def event() -> tuple[str, dict]:
        name = data = None
        while line := answer.readline().decode().rstrip("\n"):
            key, _, value = line.partition(": ")
            name, data = (value, data) if key == "event" else (name, json.loads(value) if key == "data" else data)
        return name, data

    name, first = event()
    assert (name, first["reason"], first["status"]["ready"]) == ("state", "hello", True)
    _, decided = live.inspect(png_bytes(30))
    while (got := event())[0] != "decision":
        pass
    assert got[1] == {k: v for k, v in decided.items() if k != "inline"}
    live.put("PUT", f"/v1/records/{decided['record_id']}/verdict", {"verdict": "good"})
    while (got := event())[1]["reason"] != "verdict":
        pass
    assert got[1]["decision"]["operator_verdict"] == "good"
    connection.close()


def test_products_are_loaded_replaced_and_kept_when_the_new_one_fails(live: Live) -> None:
    first = live.json("/v1/products")
    assert first["available"] == ["damaged", "second"]
    status, answer = live.put("POST", "/v1/products", {"product": "line", "bundle": "damaged"})
    assert (status, "is damaged: its SHA-256 differs" in answer["error"]["message"]) == (422, True), answer
    assert live.json("/v1/products") == first
    for name in ("../second", "/etc", "second/", "none"):
        assert live.put("POST", "/v1/products", {"product": "line", "bundle": name})[0] == 400
    assert live.put("POST", "/v1/products", {"product": "a/b", "bundle": "second"})[0] == 400
    assert live.put("POST", "/v1/products", {"product": "extra", "bundle": "second"})[0] == 200
    status, answer = live.inspect(png_bytes(40))
    assert (status, "is in several products" in answer["error"]["message"]) == (400, True)
    assert live.inspect(png_bytes(40), "category=ring&product=extra")[0] == 200
    stop = threading.Event()
    results: list[int] = []

    def keep_asking() -> None:
        while not stop.is_set():
            results.append(live.inspect(png_bytes(41), "category=ring&product=line")[0])

    thread = threading.Thread(target=keep_asking)
    thread.start()
    assert live.put("POST", "/v1/products", {"product": "line", "bundle": "second"})[0] == 200
    stop.set()
    thread.join()
    assert set(results) == {200}  # no part went undecided while the product changed
    assert live.put("DELETE", "/v1/products/extra", None)[0] == 204
    assert live.put("DELETE", "/v1/products/extra", None)[0] == 404
    assert [product["bundle"] for product in live.json("/v1/products")["products"]] == ["second"]


def test_headers_and_other_sites(live: Live) -> None:
    status, headers, _ = live.call("GET", "/v1/status")
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers
    assert live.call("GET", "/v1/status", headers={"Host": "evil.example"})[0] == 421
    body, kind = form({"category": "ring"}, png_bytes(50))
    for sent, status in (
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": f"http://127.0.0.1:{live.port}", "Sec-Fetch-Site": "same-origin"}, 200),
    ):
        assert live.call("POST", "/v1/inspect", body, {**kind, **sent})[0] == status


def test_the_descriptions_need_no_other_machine(live: Live) -> None:
    status, _, page = live.call("GET", "/docs")
    assert status == 200
    assert b"/v1/inspect/batch" in page
    assert b"<script" not in page
    assert b"//" not in page.replace(b"</", b"").replace(b"https:", b"")
    schema = live.json("/openapi.json")
    assert "multipart/form-data" in schema["paths"]["/v1/inspect"]["post"]["requestBody"]["content"]
    metrics = live.call("GET", "/metrics")[2].decode()
    assert 'edge_ad_verdicts_total{category="ring",product="line",source="http"' in metrics
    assert 'edge_ad_stage_seconds_bucket{le="0.005",stage="denoise"}' in metrics
    assert "edge_ad_queue_length 0.0" in metrics
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(values["edge_ad_worker_resident_bytes"]) > 1e7
    assert "edge_ad_device_memory_used_bytes" in values  # NaN without a card


def test_nothing_of_a_request_is_in_the_log(live: Live) -> None:
    live.call("GET", "/v1/records?category=secret-word", headers={"Authorization": "Bearer secret-word"})
    live.inspect(png_bytes(60), "category=secret-word")
    assert "secret-word" not in live.log.read_text()
