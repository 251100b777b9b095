"""Records and pictures on disk: order, filters, retention, export, and two processes."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_ad.cli import run
from edge_ad.dataset import load_dataset
from edge_ad.errors import InputError
from edge_ad.images import read_image
from edge_ad.runtime.serve.decision import Decision, InspectionFailed, RegionBox, parse_time, utc_text
from edge_ad.runtime.serve.lock import lock_folder
from edge_ad.runtime.serve.options import StationOptions
from edge_ad.runtime.serve.pictures import PictureStore, png
from edge_ad.runtime.serve.records import Records, new_record_id
from edge_ad.runtime.serve.retention import keep_within, sweep
from edge_ad.runtime.serve.tables import Kept, Query, condition, connect


def decision(seconds: float, *, category: str = "ring", verdict: str = "good", source: str = "http") -> Decision:
    return Decision(
        record_id=new_record_id(seconds),
        time=utc_text(seconds),
        product="line",
        category=category,
        verdict=verdict,
        score=seconds % 7,
        threshold=3.5,
        normalised=0.5,
        regions=[RegionBox(x=1, y=2, width=3, height=4, area=5, peak=6.5)],
        times={"total": 0.25},
        bundle_sha256="0" * 64,
        plan="grouped",
        source=source,
        width=8,
        height=9,
        drift=True,
        defect="dent",
        defect_probability=0.75,
        stage="prototypes",
    )


def picture(seed: int) -> bytes:
    return png(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8))


def test_what_is_added_comes_back(tmp_path: Path) -> None:
    async def story() -> None:
        records = await Records.open(tmp_path)
        one = decision(1000.125, source="folder:a.png")
        await asyncio.gather(*(records.add(decision(float(i)), []) for i in range(50)))
        seq = await records.add(one, [Kept("map", "b" * 64, 3), Kept("image", "a" * 64, 5)])
        found = await records.get(one.record_id)
        links = {"image": f"/v1/pictures/{'a' * 64}.png", "map": f"/v1/pictures/{'b' * 64}.png"}
        assert found == one.model_copy(update={"pictures": links})
        assert await records.of_source("folder:a.png") == found
        assert await records.of_source("folder:b.png") is None
        assert [number for number, _ in await records.after(seq - 2, 9)] == [seq - 1, seq]
        assert await records.judge("nobody", "good", "") is None
        await records.close()
        again = await Records.open(tmp_path)
        assert await again.get(one.record_id) == found
        assert await again.last_seq() == seq == 51
        await again.close()

    asyncio.run(story())


ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["good", "bad", "undecided"]), st.integers(0, 30)),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(
    ROWS,
    st.sampled_from([None, "a", "c"]),
    st.sampled_from([None, "good", "corrected"]),
    st.none() | st.integers(0, 30),
    st.none() | st.integers(0, 30),
    st.integers(1, 6),
)
def test_pages_and_filters_give_each_record_once(
    tmp_path_factory, rows, category, verdict, since, until, limit
) -> None:
    async def story() -> None:
        records = await Records.open(tmp_path_factory.mktemp("records"))
        kept = []
        for i, (name, decided, seconds) in enumerate(rows):
            one = decision(float(seconds), category=name, verdict=decided)
            await records.add(one, [])
            if i % 3 == 0:
                one = await records.judge(one.record_id, "bad", "") or one
            kept.append(one)
        expected = [
            one
            for one in reversed(kept)
            if category in (None, one.category)
            and (
                verdict in (None, one.verdict)
                or (verdict == "corrected" and one.operator_verdict not in (None, one.verdict))
            )
            and (since is None or parse_time(one.time, "") >= since)
            and (until is None or parse_time(one.time, "") < until)
        ]  # fmt: skip
        pages, before = [], None
        while True:
            page = await records.find(Query(limit, before, category, verdict, since, until))
            pages += page
            if len(page) < limit:
                break
            before = page[-1].record_id
        assert pages == expected
        await records.close()

    asyncio.run(story())


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_record_ids_sort_by_time_and_times_come_back(a: float, b: float) -> None:
    first, second = sorted((a, b))
    if int(first * 1000) < int(second * 1000):
        assert new_record_id(first) < new_record_id(second)
    assert new_record_id(a) != new_record_id(a)
    assert abs(parse_time(utc_text(a), "time") - a) <= 0.001


SOME_DAY = 1_760_000_000.0  # in 2025
DAY = 86_400.0


async def expired(records: Records, older_than: float | None, max_bytes: int | None) -> list[str]:
    return [digest async for gone in records.expire(older_than, max_bytes) for digest in gone]


def test_retention_keeps_what_is_judged_and_what_is_shared(tmp_path: Path) -> None:
    async def story() -> None:
        records = await Records.open(tmp_path)
        store = PictureStore(tmp_path / "pictures")
        files = [picture(seed) for seed in range(4)]
        size = len(files[0])
        digests = [store.put(data) for data in files]
        store.release(digests)
        #          old     judged  plain   shares the picture of the old one
        for when, which in ((10.0, 0), (200.0, 1), (300.0, 2), (400.0, 0), (500.0, 3)):
            one = decision(SOME_DAY + when)
            await records.add(one, [Kept("image", digests[which], size)])
            if which == 1:
                await records.judge(one.record_id, "good", "")
        assert await expired(records, SOME_DAY + 100.0, None) == []  # the old one's picture is another's too
        assert await records.last_seq() == 5
        assert len(await records.find(Query(limit=9))) == 4
        gone = await expired(records, None, 2 * size)
        assert set(gone) == {digests[2], digests[0]}
        store.remove(gone)
        assert [store.find(digest) is not None for digest in digests] == [False, True, False, True]
        left = {bool(one.pictures): one.operator_verdict for one in await records.find(Query(limit=9))}
        assert left[True] in ("good", None)
        assert await expired(records, None, 2 * size) == []
        stray = store.put(picture(9))
        assert await sweep(records, store) == 0  # held: its decision may be about to come
        store.release([stray])
        assert await sweep(records, store) == 1
        assert store.find(stray) is None
        assert store.find(digests[1]) is not None
        await records.close()

    asyncio.run(story())


def test_a_picture_that_comes_again_is_not_removed_under_its_decision(tmp_path: Path) -> None:
    """Its first decision was given up, and nobody had it when that was asked; now it has another."""
    asked, go_on = threading.Event(), threading.Event()

    async def story() -> None:
        records = await Records.open(tmp_path)
        store = PictureStore(tmp_path / "pictures")
        digest = store.put(picture(1))
        store.release([digest])

        def remove(digests: Sequence[str]) -> int:
            asked.set()
            assert go_on.wait(10)
            return store.remove(digests)

        removing = asyncio.create_task(records.remove_unknown([digest], remove))
        await asyncio.to_thread(asked.wait, 10)
        assert store.put(picture(1)) == digest
        adding = asyncio.create_task(records.add(decision(SOME_DAY), [Kept("image", digest, 9)]))
        adding.add_done_callback(lambda _: store.release([digest]))
        await asyncio.sleep(0.2)
        assert not adding.done()
        go_on.set()
        assert await removing == 0
        await adding
        assert store.find(digest) is not None
        assert await records.remove_unknown([digest], store.remove) == 0
        await records.close()

    asyncio.run(story())


@pytest.mark.parametrize("asked", [{}, {"category": "ring"}, {"since": 5.0, "until": 9e9}, {"before": "x"}])
def test_rare_records_are_found_without_reading_all(tmp_path: Path, asked: dict) -> None:
    path = tmp_path / "records.sqlite"
    old = connect(path)
    old.executescript("DROP INDEX by_verdict; DROP INDEX by_correction;")  # from before there were these
    old.close()
    connect(path).close()
    reading = connect(path, read_only=True)
    for verdict, index in (("bad", "by_verdict"), ("corrected", "by_correction")):
        where, values = condition(Query(verdict=verdict, **asked))
        sql = f"EXPLAIN QUERY PLAN SELECT * FROM decisions {where} ORDER BY seq DESC LIMIT 50"
        plan = [row[3] for row in reading.execute(sql, values)]
        assert f"decisions USING INDEX {index}" in plan[0]
        assert not any("TEMP B-TREE" in step for step in plan)
    reading.close()


def test_sinks_do_not_wait_for_a_long_search(tmp_path: Path) -> None:
    end = threading.Event()

    async def story() -> None:
        records = await Records.open(tmp_path)
        await records.add(decision(1.0), [])
        search = asyncio.create_task(records._history.ask(lambda _: end.wait(30)))
        assert len(await asyncio.wait_for(records.after(0, 9), 10)) == 1
        assert await asyncio.wait_for(records.of_source("http"), 10)
        assert not search.done()
        end.set()
        assert await search
        await records.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("days", "left"),
    [
        ([-100, -50, -2, -1], [-50, -2, -1]),
        ([-100, -99], [-100, -99]),  # nothing new: the plant stood still, or the clock is wrong
        ([-100, -99, 200], [-100, -99, 200]),  # made while the clock was months ahead
        ([-100, 200, -99, -1], [200, -1]),
        ([-2, -9000, -9000, -1], [-2, -9000, -9000, -1]),  # made before the clock was set
        ([-20000, -20000, -1], [-20000, -20000, -1]),  # likewise, on a new machine
        ([-20000, -100, -20000, -1], [-20000, -1]),
        ([-2, -100, -1], [-2, -100, -1]),
    ],
)
def test_a_wrong_clock_makes_no_record_old(tmp_path: Path, days: list[int], left: list[int]) -> None:
    now = time.time()

    async def story() -> list[Decision]:
        records = await Records.open(tmp_path)
        for day in days:
            await records.add(decision(now + DAY * day), [])
        await expired(records, now - 90 * DAY, None)
        found = await records.find(Query(limit=9))
        await records.close()
        return found

    found = [parse_time(one.time, "") for one in reversed(asyncio.run(story()))]
    assert found == pytest.approx([now + DAY * day for day in left], abs=0.01)


def test_a_clock_that_leaps_is_not_believed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_ad.runtime.serve.retention.PERIOD", 0.02)
    monkeypatch.setattr("edge_ad.runtime.serve.retention.PROOF", 0.5)
    options = StationOptions(tmp_path, keep_days=90)

    async def story() -> None:
        records = await Records.open(tmp_path)

        async def count() -> int:
            return len(await records.find(Query(limit=9)))

        now = time.time()
        for day in (-100, -95, -80):  # the newest is of long ago: the clock may have leapt while the station was off
            await records.add(decision(now + DAY * day), [])
        began = time.monotonic()
        task = asyncio.create_task(keep_within(records, PictureStore(tmp_path / "pictures"), options))
        while await count() == 3:
            await asyncio.sleep(0.02)
        assert time.monotonic() - began >= 0.5
        assert await count() == 1
        await records.add(decision(now + 200 * DAY), [])
        clock = time.time
        with monkeypatch.context() as leap:  # for a moment it is months ahead
            leap.setattr(time, "time", lambda: clock() + 200 * DAY)
            await asyncio.sleep(0.2)
        assert await count() == 2
        task.cancel()
        await records.close()

    asyncio.run(story())


def test_retention_goes_in_steps(tmp_path: Path) -> None:
    """Thousands at once neither hold up a decision for long nor are left over."""

    async def story() -> None:
        records = await Records.open(tmp_path)
        old, young = SOME_DAY, time.time()
        kept = [[Kept("image", f"{i:064x}", 10)] for i in range(1201)]
        await asyncio.gather(*(records.add(decision(old if i < 600 else young), kept[i]) for i in range(1201)))
        steps = [gone async for gone in records.expire(young - 1, 510)]
        assert [len(gone) for gone in steps] == [500, 100, 500, 50]
        assert {one for gone in steps for one in gone} == {pictures[0].sha256 for pictures in kept[:1150]}
        assert [step async for step in records.expire(young - 1, 510)] == []
        await records.close()

    asyncio.run(story())


def test_one_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    async def story() -> None:
        records = await Records.open(tmp_path)
        wrong = [{"score": float("nan")}, {"source": "folder: \udcff.png"}]
        made = [decision(float(i)) for i in range(3)] + [decision(9.0).model_copy(update=update) for update in wrong]
        results = await asyncio.gather(*(records.add(one, []) for one in made), return_exceptions=True)
        assert [isinstance(result, int) for result in results] == [True] * 3 + [False] * 2
        for result in results[3:]:
            with pytest.raises(InspectionFailed, match="cannot be recorded"):
                raise result
        assert len(await records.find(Query(limit=9))) == 3
        await asyncio.wait_for(records.close(), 10)

    asyncio.run(story())


def test_a_picture_is_kept_once_and_under_its_hash_only(tmp_path: Path) -> None:
    store = PictureStore(tmp_path)
    digest = store.put(picture(1))
    assert store.put(picture(1)) == digest
    store.release([digest])
    store.remove([digest])
    assert store.find(digest) is not None  # still held once
    store.release([digest])
    store.remove([digest])
    assert list(store.all()) == []
    for name in ("", "../x", digest.upper(), digest[:-1], digest + "0", digest + "\n"):
        assert store.find(name) is None
        with pytest.raises(ValueError, match="not a SHA-256"):
            store.path(name)


def test_other_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "records.sqlite").write_text("no database" * 100)
    with pytest.raises(InputError, match="cannot be opened as records"):
        asyncio.run(Records.open(tmp_path))
    newer = tmp_path / "newer"
    newer.mkdir()
    connection = connect(newer / "records.sqlite")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(InputError, match="schema 9"):
        asyncio.run(Records.open(newer))
    held = lock_folder(tmp_path / "one")
    with pytest.raises(InputError, match="another station"):
        lock_folder(tmp_path / "one")
    held.close()
    lock_folder(tmp_path / "one").close()
    for text in ("", "2026-13-01", "now"):
        with pytest.raises(InputError, match="is not a time"):
            parse_time(text, "since")


@pytest.mark.parametrize(("schema", "unknown"), [(1, ("defect", "defect_probability", "stage")), (2, ("stage",))])
def test_records_of_earlier_schemas_are_taken_over(tmp_path: Path, schema: int, unknown: tuple[str, ...]) -> None:
    """1 knew no kinds of defects, 2 not what had decided: what is in them stays, and new ones have it all."""
    path = tmp_path / "records.sqlite"
    old, new = decision(1000.0), decision(2000.0)

    async def keep(one: Decision) -> None:
        records = await Records.open(tmp_path)
        await records.add(one, [])
        await records.close()

    asyncio.run(keep(old))
    connection = connect(path)
    for column in unknown:
        connection.execute(f"ALTER TABLE decisions DROP COLUMN {column}")
    connection.executescript("DROP INDEX by_sha256; CREATE INDEX by_sha256 ON pictures (sha256);")
    connection.execute(f"PRAGMA user_version = {schema}")
    connection.close()
    with pytest.raises(InputError, match="start edge-ad serve with them once"):
        connect(path, read_only=True)

    async def read() -> list[Decision | None]:
        records = await Records.open(tmp_path)
        await records.add(new, [])
        found = [await records.get(one.record_id) for one in (old, new)]
        await records.close()
        return found

    assert asyncio.run(read()) == [old.model_copy(update=dict.fromkeys(unknown)), new]
    fresh = connect(tmp_path / "fresh.sqlite")
    schemas = [one.execute("SELECT sql FROM sqlite_schema WHERE type = 'index'") for one in (connect(path), fresh)]
    assert set(schemas[0]) == set(schemas[1])


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A station's folder with 30 good, 6 bad and 2 undecided parts; two good were rejected, one bad was passed."""

    async def story() -> None:
        folder = tmp_path / "station"
        records = await Records.open(folder)
        store = PictureStore(folder / "pictures")
        for i in range(38):
            verdict = "undecided" if i >= 36 else "bad" if i % 6 == 5 else "good"
            one = decision(1000.0 + i, verdict=verdict, category="weave" if i % 2 else "ring")
            data = picture(i)
            digest = store.put(data)
            await records.add(one, [Kept("image", digest, len(data))])
            if i in (5, 11, 12):
                await records.judge(one.record_id, "bad" if i == 12 else "good", "seen")
        await records.close()

    asyncio.run(story())
    return tmp_path / "station"


def test_records_become_a_data_set(recorded: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "data"
    assert run(["records", "export", str(recorded), "--out", str(out), "--test-share", "0.4"]) == 0
    assert "31 good and 5 bad images" in capsys.readouterr().out
    dataset = load_dataset(out, need_test=True)
    assert dataset.names == ["ring", "weave"]
    bad = [sample for category in dataset.categories for sample in category.test if sample.is_bad]
    assert len(bad) == 5
    train = sum(len(category.train_good) for category in dataset.categories)
    test = sum(not sample.is_bad for category in dataset.categories for sample in category.test)
    assert train + test == 31
    assert 5 <= test <= 20
    rows = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert len(rows) == 36
    first = next(path for path in dataset["ring"].train_good)
    row = next(row for row in rows if row["record_id"] == first.stem)
    number = round(parse_time(row["time"], "time") - 1000)
    assert np.array_equal(read_image(first), np.asarray(Image.open(io.BytesIO(picture(number)))))
    assert run(["records", "export", str(recorded), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    few = tmp_path / "few"
    assert run(["records", "export", str(recorded), "--out", str(few), "--judged-only", "--category", "weave"]) == 0
    assert "2 good and 0 bad" in capsys.readouterr().out
    assert run(["records", "export", str(recorded), "--out", str(tmp_path / "x"), "--since", "2030-01-01"]) == 1
    assert not (tmp_path / "x").exists()
    assert run(["records", "export", str(tmp_path), "--out", str(tmp_path / "x")]) == 1
    assert "has no records.sqlite" in capsys.readouterr().err


def test_a_data_set_is_written_while_the_station_writes(recorded: Path, tmp_path: Path) -> None:
    async def story() -> None:
        records = await Records.open(recorded)
        await records.add(decision(time.time()), [])
        assert await asyncio.to_thread(run, ["records", "export", str(recorded), "--out", str(tmp_path / "data")]) == 0
        await records.add(decision(time.time()), [])
        await records.close()

    asyncio.run(story())
