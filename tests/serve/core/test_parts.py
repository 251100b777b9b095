"""The parts of the station by themselves: batches, frames, access, products, counts, listeners, outboxes."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge_ad.cli import run
from edge_ad.errors import BundleError, InputError, OptionError
from edge_ad.runtime.serve import lines, wire
from edge_ad.runtime.serve.access import Access, check_host, is_foreign, is_local_name, is_loopback, read_token
from edge_ad.runtime.serve.batches import Batches, Job
from edge_ad.runtime.serve.counts import DayCounts, midnight
from edge_ad.runtime.serve.decision import Decision, State
from edge_ad.runtime.serve.events import BACKLOG, Hub
from edge_ad.runtime.serve.outbox import Outbox
from edge_ad.runtime.serve.products import Product, available, parse_bundles, route
from edge_ad.runtime.serve.records import Records, new_record_id
from edge_ad.runtime.serve.render import map_picture, small_copy, unsquare

A = Product("a", Path("a"), 0, {"categories": {"ring": {}, "nut": {}}})
B = Product("b", Path("b"), 1, {"categories": {"ring": {}}})


def job(product: Product = A, alone: bool = False) -> Job:
    found = asyncio.get_running_loop().create_future()
    return Job(product, "ring", np.zeros((2, 2, 3), np.uint8), (2, 2), found, alone)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12), st.integers(1, 4))
def test_batches_are_full_of_one_product_and_lose_nothing(order: list[tuple[bool, bool]], max_batch: int) -> None:
    async def story() -> None:
        batches = Batches(max_batch, 0.0)
        jobs = [job(A if first else B, alone) for first, alone in order]
        for one in jobs:
            batches.put(one)
        taken: list[Job] = []
        while len(taken) < len(jobs):
            left = [one for one in jobs if one not in taken]
            batch = await batches.next()
            expected = [one for one in left if one.product is left[0].product and not one.alone][:max_batch]
            assert batch == (left[:1] if left[0].alone else expected)
            taken += batch
        assert sorted(map(jobs.index, taken)) == list(range(len(jobs)))

    asyncio.run(story())


def test_a_batch_waits_for_others_but_not_longer_than_told() -> None:
    async def story() -> None:
        batches = Batches(2, 0.2)
        first = job()
        batches.put(first)
        begun = time.monotonic()
        assert await batches.next() == [first]
        assert time.monotonic() - begun >= 0.15
        waiting = asyncio.create_task(batches.next())
        pair = [job(), job()]
        batches.put(pair[0])
        await asyncio.sleep(0.01)
        assert not waiting.done()
        batches.put(pair[1])
        assert await asyncio.wait_for(waiting, 0.15) == pair
        batches.put_back(pair)
        batches.discard(pair[0])
        batches.discard(pair[0])
        assert batches.clear() == [pair[1]]
        assert len(batches) == 0

    asyncio.run(story())


ARRAYS = st.lists(
    st.sampled_from([np.uint8, np.float32]).flatmap(
        lambda kind: npst.arrays(kind, npst.array_shapes(max_dims=3, max_side=4, min_side=0))
    ),
    max_size=3,
)  # fmt: skip


@given(ARRAYS, st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3), st.data())
def test_frames_come_back_whole_or_end(arrays, header, data) -> None:
    raw = b"".join(bytes(piece) for piece in wire.encode(header, arrays))
    found = wire.read_frame(io.BytesIO(raw + raw))
    assert found is not None
    assert found[0] == header
    for got, sent in zip(found[1], arrays, strict=True):
        assert got.dtype == sent.dtype
        assert got.shape == sent.shape
        assert got.tobytes() == sent.tobytes()
    assert wire.read_frame(io.BytesIO(raw[: data.draw(st.integers(0, len(raw) - 1))])) is None

    async def story() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(raw)
        reader.feed_eof()
        again, also = await wire.read_frame_async(reader.readexactly)
        assert again == header
        assert [array.tobytes() for array in also] == [array.tobytes() for array in arrays]
        with pytest.raises(asyncio.IncompleteReadError):
            await wire.read_frame_async(reader.readexactly)

    asyncio.run(story())


def test_a_token_opens_and_nothing_else_does() -> None:
    access, other = Access("correct-horse-battery"), Access("another-token-of-length")
    assert access.accepts("Bearer correct-horse-battery", None)
    assert access.accepts("bearer  correct-horse-battery", None)
    for wrong in ("Bearer", "Bearer x", "Basic correct-horse-battery", "correct-horse-battery", "Bearer ä"):
        assert not access.accepts(wrong, None)
        assert not access.accepts(wrong, access.new_session())  # a wrong header is not mended by a cookie
    session = access.new_session()
    assert access.accepts(None, session)
    assert not other.accepts(None, session)
    ends, _, proof = session.partition(".")
    for forged in ("", ".", f"{int(ends) + 1}.{proof}", ends, access.new_session(now=0), "ä.ä"):
        assert not access.accepts(None, forged)
    assert not access.accepts(None, None)
    assert Access(None).accepts(None, None)


def test_addresses_and_origins() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1", "127.8.8.8", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "localhost.evil.example", "")))
    assert all(map(is_local_name, ("127.0.0.1:8000", "localhost", "[::1]:8000")))
    assert not any(map(is_local_name, ("", "evil.example:8000", "[", "127.0.0.1.evil.example")))
    assert not is_foreign("GET", "h:1", "http://evil", "cross-site")
    assert is_foreign("POST", "h:1", "http://evil", None)
    assert is_foreign("PUT", "h:1", "http://h:2", None)
    assert is_foreign("DELETE", "h:1", None, "same-site")
    assert not is_foreign("POST", "h:1", "http://h:1", "same-origin")
    assert not is_foreign("POST", "h:1", None, None)
    check_host("127.0.0.1", None)
    check_host("0.0.0.0", "token")
    with pytest.raises(OptionError, match="--token-file"):
        check_host("0.0.0.0", None)


def test_token_files(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(InputError, match="No such file"):
        read_token(file)
    for text in (b"", b"short", b"two words of a token", b"\xff" * 20):
        file.write_bytes(text)
        with pytest.raises(InputError, match="--token-file"):
            read_token(file)
    file.write_text("0123456789abcdef\n")
    assert read_token(file) == "0123456789abcdef"


def test_products_are_named_and_found(tmp_path: Path) -> None:
    assert parse_bundles(["x=/p/q", "/r/bundle.tar", "y=rel"]) == {
        "x": Path("/p/q"), "bundle": Path("/r/bundle.tar"), "y": Path("rel"),
    }  # fmt: skip
    for wrong in (["/a/x", "/b/x"], ["/a/b c"], ["/"]):
        with pytest.raises(OptionError):
            parse_bundles(wrong)
    both = {"a": A, "b": B}
    assert route(both, "nut", None) == (A, "nut")
    assert route(both, "ring", "b") == (B, "ring")
    assert route({"b": B}, None, None) == (B, "ring")
    assert route(both, None, "b") == (B, "ring")
    for category, product, kind in (
        ("ring", None, InputError), (None, None, InputError), (None, "a", InputError),
        ("bolt", None, BundleError), ("nut", "b", BundleError), ("ring", "c", BundleError),
    ):  # fmt: skip
        with pytest.raises(kind):
            route(both, category, product)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "manifest.json").write_text("{}")
    (tmp_path / "two.tar").write_bytes(b"")
    (tmp_path / "three").mkdir()
    assert set(available([tmp_path, tmp_path / "none"])) == {"one", "two.tar"}


def test_counts_begin_again_at_midnight() -> None:
    now = midnight(1_800_000_000.0) + 3600
    counts = DayCounts(now, {("ring", "good"): 3, ("ring", "bad"): 1})
    counts.add(now, "nut", "undecided")
    summary = counts.summary()
    assert (summary["good"], summary["bad"], summary["undecided"], summary["total"]) == (3, 1, 1, 5)
    assert summary["yield"] == 0.75
    assert summary["categories"]["nut"] == {"good": 0, "bad": 0, "undecided": 1, "total": 1, "yield": None}
    counts.add(now + 86_400, "nut", "good")
    assert counts.summary()["total"] == 1


def test_a_slow_listener_loses_the_oldest_and_stops_nobody() -> None:
    async def story() -> None:
        hub = Hub()
        slow, quick = hub.listen(), hub.listen()
        got = []
        for i in range(BACKLOG + 10):
            hub.publish(State(reason=str(i), status={}))
            got.append((await anext(quick)).reason)
        assert got == [str(i) for i in range(BACKLOG + 10)]
        assert (await anext(slow)).reason == "10"
        hub.close()
        assert len([event async for event in slow]) == BACKLOG - 1
        assert [event async for event in hub.listen()] == []

    asyncio.run(story())


class Picky:
    """A sink that fails now and then."""

    name = "picky"

    def __init__(self) -> None:
        self.got: list[str] = []
        self.fail = False

    async def publish(self, decision: Decision) -> None:
        if self.fail:
            self.fail = False
            raise RuntimeError("no connection")
        self.got.append(decision.record_id)

    async def close(self) -> None:
        pass


def test_a_sink_gets_every_decision_in_order_across_failures_and_restarts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.outbox._PAUSES", (0.01, 0.02))

    async def add(records: Records, count: int) -> list[str]:
        made = []
        for _ in range(count):
            one = Decision(
                record_id=new_record_id(0), time="1970-01-01T00:00:00.000Z", product="p", category="c", verdict="good",
                score=0.0, bundle_sha256="0" * 64,
            )  # fmt: skip
            await records.add(one, [])
            made.append(one.record_id)
        return made

    async def session(sink: Picky, count: int, run_it: bool) -> list[str]:
        records = await Records.open(tmp_path)
        outbox = Outbox(sink, records)
        await outbox.begin()
        task = asyncio.create_task(outbox.run()) if run_it else None
        made = await add(records, count)
        outbox.wake()
        if task is not None:
            await outbox.settle(5)
            task.cancel()
        await records.close()
        return made

    async def story() -> None:
        records = await Records.open(tmp_path)
        await add(records, 2)
        await records.close()
        sink = Picky()
        sink.fail = True
        first = await session(sink, 3, True)
        assert sink.got == first  # a new sink begins with what is new
        missed = await session(sink, 2, False)  # the station ended before it was published
        last = await session(sink, 1, True)
        assert sink.got == first + missed + last

    asyncio.run(story())


def test_pictures_for_people_have_the_images_shape() -> None:
    image = np.zeros((900, 1800, 3), np.uint8)
    small = small_copy(image)
    assert small.shape == (384, 768, 3)
    assert map_picture(small, np.zeros((64, 64), np.float32), (0.5, 2.0)).shape == small.shape
    assert unsquare(np.zeros((64, 64, 3), np.uint8), (900, 1800)).shape == (32, 64, 3)
    assert unsquare(np.zeros((64, 64, 3), np.uint8), (1, 1800)).shape == (1, 64, 3)


def test_log_lines_are_json() -> None:
    out = io.StringIO()
    lines.set_up(out)
    try:
        lines.log("thing", level="warning", path=Path("/x"), number=3)
        line = json.loads(out.getvalue())
        assert (line["event"], line["level"], line["path"], line["number"]) == ("thing", "warning", "/x", 3)
    finally:
        for name in ("edge_ad.serve", "uvicorn"):
            logging.getLogger(name).handlers = []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere"], 1, "there is no bundle"),
        (["{tmp}"], 1, "is not a bundle"),
        (["{bundle}", "--host", "0.0.0.0"], 2, "--token-file"),
        (["{bundle}", "{bundle}"], 2, "two bundles are called"),
        (["{bundle}", "--token-file", "{tmp}/none"], 1, "No such file"),
        (["{bundle}", "--tls-cert", "{tmp}"], 2, "go together"),
        (["{bundle}", "--queue", "0"], 2, "--queue"),
    ],
)
def test_wrong_command_lines_are_told_before_anything_starts(
    tiny_bundle: Path, tmp_path: Path, capsys, arguments: list[str], code: int, words: str
) -> None:
    filled = [argument.format(bundle=tiny_bundle, tmp=tmp_path) for argument in arguments]
    assert run(["serve", *filled, "--records", str(tmp_path / "records")]) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "records").exists()
