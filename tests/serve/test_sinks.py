"""Sinks against real receivers on loopback: mosquitto, an HTTP server, files."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import hmac
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.errors import EdgeAdError, InputError, OptionError
from edge_ad.runtime.serve.broker import parse_broker
from edge_ad.runtime.serve.config import build_sinks, read_config, station_config
from edge_ad.runtime.serve.decision import Decision
from edge_ad.runtime.serve.sinks.csv_file import COLUMNS, CsvSink, row
from edge_ad.runtime.serve.sinks.webhook import WebhookSink, seconds_of


def decision(number: int, **changes: object) -> Decision:
    values = {
        "record_id": f"20261122T0200{number:08d}",
        "time": "2026-11-22T02:00:00.000Z",
        "product": "caps",
        "category": "capsule",
        "verdict": "bad" if number % 3 == 0 else "good",
        "score": 0.25 + number,
        "threshold": 0.5,
        "times": {"total": 0.125},
        "bundle_sha256": "ab" * 32,
    }
    return Decision.model_validate({**values, **changes})


def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# CSV


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def publish(sink, *decisions: Decision) -> None:
    async def run() -> None:
        for one in decisions:
            await sink.publish(one)

    asyncio.run(run())


def test_csv_appends_under_one_header_also_across_runs(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "decisions.csv"
    publish(CsvSink(path), decision(1), decision(2, threshold=None, drift=True))
    publish(CsvSink(path), decision(2), decision(3))  # the second comes again after a crash
    found = rows(path)
    assert [row["record_id"] for row in found] == [decision(n).record_id for n in (1, 2, 3)]
    assert tuple(found[0]) == COLUMNS
    assert found[0]["score"] == "1.25"
    assert found[0]["threshold"] == "0.5"
    assert found[0]["seconds"] == "0.125"
    assert found[1]["threshold"] == ""
    assert found[1]["drift"] == "true"


def test_csv_cuts_off_a_torn_row(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    publish(CsvSink(path), decision(1), decision(2))
    path.write_bytes(path.read_bytes()[:-9])
    publish(CsvSink(path), decision(2), decision(3))
    assert [row["record_id"] for row in rows(path)] == [decision(n).record_id for n in (1, 2, 3)]


def test_csv_rotates_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    sink = CsvSink(path, max_bytes=400, keep=2)
    publish(sink, *(decision(n) for n in range(12)))
    files = sorted(file.name for file in tmp_path.iterdir())
    assert len([name for name in files if name != "decisions.csv"]) == 2
    kept = [row["record_id"] for name in sorted(files, key=lambda name: (name == "decisions.csv", name))
            for row in rows(tmp_path / name)]  # fmt: skip
    assert kept == [decision(n).record_id for n in range(12)][-len(kept) :]


def test_csv_writes_no_row_twice_when_it_cannot_rotate(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 250}.csv"  # with a number in it the name is too long for a file
    sink = CsvSink(path, max_bytes=400)
    written = []
    for number in range(9):
        with contextlib.suppress(OSError):
            publish(sink, decision(number))
            written.append(decision(number).record_id)
    for _ in range(3):
        with pytest.raises(OSError, match="too long"):
            publish(sink, decision(9))
    assert [row["record_id"] for row in rows(path)] == written
    assert 0 < len(written) < 9
    publish(CsvSink(path), decision(9))  # a larger limit
    assert len(rows(path)) == len(written) + 1


def test_csv_sets_a_file_with_other_columns_aside(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text("mine,yours\n1,2\n")
    publish(CsvSink(path), decision(1))
    assert (tmp_path / "decisions.001.csv").read_text() == "mine,yours\n1,2\n"
    assert len(rows(path)) == 1


def test_csv_tells_of_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        publish(CsvSink(tmp_path / "file" / "decisions.csv"), decision(1))


@given(st.text(max_size=40), st.text(max_size=40))
def test_csv_row_reads_back_as_one_row(category: str, source: str) -> None:
    text = row(decision(1, category=category, source=source))
    assert text.count("\n") == 1
    (cells,) = csv.reader([text])
    assert len(cells) == len(COLUMNS)
    for name, value in (("category", category), ("source", source)):
        cell = cells[COLUMNS.index(name)]
        assert cell in (" ".join(value.splitlines()), "'" + " ".join(value.splitlines()))
        assert not cell.startswith(("=", "+", "-", "@", "\t"))


# webhook


class Receiver:
    """A real HTTP server that answers with the statuses it is given, then 204, and keeps what came."""

    def __init__(self, answers: list[int | tuple[int, dict[str, str]]]):
        self.answers = list(answers)
        self.got: list[tuple[dict[str, str], bytes]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                answer = outer.answers.pop(0) if outer.answers else 204
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


@contextmanager
def receiver(*answers: int | tuple[int, dict[str, str]]) -> Iterator[Receiver]:
    one = Receiver(list(answers))
    thread = threading.Thread(target=one.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield one
    finally:
        one.server.shutdown()
        thread.join()
        one.server.server_close()


def test_webhook_sends_json_with_key_token_and_signature() -> None:
    with receiver() as there:
        publish(WebhookSink(there.url, token="t0ken", secret=b"s3cret"), decision(1))
    ((headers, body),) = there.got
    assert Decision.model_validate_json(body) == decision(1)
    assert headers["Idempotency-Key"] == decision(1).record_id
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["X-Edge-Ad-Signature"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_webhook_asks_to_be_tried_again(status: int) -> None:
    with receiver(status) as there:
        sink = WebhookSink(there.url)
        with pytest.raises(ConnectionError, match=str(status)):
            publish(sink, decision(1))
        publish(sink, decision(1))
    assert [headers["Idempotency-Key"] for headers, _ in there.got] == [decision(1).record_id] * 2


@pytest.mark.parametrize("answer", [400, 404, 410, (302, {"Location": "http://127.0.0.1:1/elsewhere"})])
def test_webhook_gives_up_what_is_refused_for_ever(answer: int | tuple[int, dict[str, str]]) -> None:
    with receiver(answer) as there:
        publish(WebhookSink(there.url, token="t0ken"), decision(1))
    assert len(there.got) == 1  # neither again nor to the redirect's target


def test_webhook_waits_as_long_as_it_is_asked_to() -> None:
    with receiver((503, {"Retry-After": "1"})) as there:
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            publish(WebhookSink(there.url), decision(1))
        assert time.monotonic() - start >= 1


def test_webhook_without_a_receiver_says_so() -> None:
    with pytest.raises(ConnectionError, match="no answer"):
        publish(WebhookSink(f"http://127.0.0.1:{free_port()}/"), decision(1))


def test_webhook_sends_only_the_verdicts_asked_for() -> None:
    with receiver() as there:
        publish(WebhookSink(there.url, verdicts=["bad"]), decision(1), decision(3))
    assert [json.loads(body)["verdict"] for _, body in there.got] == ["bad"]


@given(st.integers(0, 10**6))
def test_retry_after_as_a_number_and_as_a_date(seconds: int) -> None:
    now = 1_795_000_000.0
    assert seconds_of(str(seconds), now) == seconds
    assert seconds_of(formatdate(now + seconds, usegmt=True), now) == pytest.approx(seconds, abs=1)


@given(st.text(max_size=30))
def test_retry_after_garbled(text: str) -> None:
    seconds = seconds_of(text, 0.0)
    assert seconds is None or seconds >= 0


# MQTT


def mqtt_sink(broker, patience: float = 5.0):
    from edge_ad.runtime.serve.sinks.mqtt import MqttSink

    return MqttSink(parse_broker(broker.url, "plant/line-1"), patience=patience)


def test_mqtt_publishes_in_order_with_a_retained_state(broker) -> None:
    async def run() -> None:
        sink = mqtt_sink(broker)
        for number in range(5):
            await sink.publish(decision(number))
        with broker.listen("plant/line-1/state") as late:  # retained: also for one who comes later
            until(lambda: late)
            assert late[0][1]["state"] == "online"
            assert late[0][2]
        await sink.close()

    with broker.listen("plant/line-1/#") as got:
        asyncio.run(run())
        until(lambda: got[-1][1].get("state") == "offline")
    decisions = [Decision.model_validate(value) for topic, value, _ in got if topic == "plant/line-1/decision"]
    assert decisions == [decision(number) for number in range(5)]


def test_mqtt_goes_on_when_the_broker_comes_back(broker) -> None:
    async def run() -> None:
        sink = mqtt_sink(broker, patience=0.3)
        await sink.publish(decision(0))
        broker.stop()
        until(lambda: not sink._online)
        with pytest.raises(ConnectionError, match="no connection"):
            await sink.publish(decision(1))
        broker.start()
        for number in (1, 2):
            for _ in range(40):  # as the station does
                try:
                    await sink.publish(decision(number))
                    break
                except ConnectionError:
                    continue
        await sink.close()

    with broker.listen("plant/line-1/decision") as got:
        asyncio.run(run())
        until(lambda: len(got) >= 3)
    assert [value["record_id"] for _, value, _ in got] == [decision(number).record_id for number in range(3)]


def test_mqtt_last_will_when_the_process_dies(broker) -> None:
    script = (
        "import asyncio, os\n"
        "from edge_ad.runtime.serve.broker import parse_broker\n"
        "from edge_ad.runtime.serve.sinks.mqtt import MqttSink\n"
        f"sink = MqttSink(parse_broker({broker.url!r}, 'plant/line-1'))\n"
        "import time\n"
        "time.sleep(60)\n"
    )
    with broker.listen("plant/line-1/state") as got:
        process = subprocess.Popen([sys.executable, "-c", script], cwd=broker.folder)
        until(lambda: got and got[-1][1]["state"] == "online", 30)
        process.kill()
        process.wait()
        until(lambda: got[-1][1]["state"] == "offline")


# configuration


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_configuration_of_every_sink(tmp_path: Path) -> None:
    (tmp_path / "hook.token").write_text("t0ken\n")
    (tmp_path / "hook.token").chmod(0o600)
    path = write(
        tmp_path / "station.toml",
        '[[webhook]]\nurl = "https://mes.example/parts"\ntoken_file = "hook.token"\nverdicts = ["bad"]\n'
        '[csv]\nfile = "decisions.csv"\nmax_megabytes = 1\n',
    )
    sinks = build_sinks(read_config(path))
    assert [sink.name for sink in sinks] == ["webhook", "csv"]
    assert sinks[1].path == tmp_path / "decisions.csv"


def test_options_are_laid_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "station.toml", '[[webhook]]\nurl = "http://a/"\n')
    config = station_config(path, webhook=["http://b/", "http://c/"], csv=tmp_path / "x.csv")
    assert [(hook.name, hook.url) for hook in config.webhook] == [
        ("webhook", "http://a/"),
        ("webhook-2", "http://b/"),
        ("webhook-3", "http://c/"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[csv\n", "is no TOML"),
        ("[cvs]\nfile = 'x'\n", "cvs: there is no such key"),
        ("[csv]\n", "csv.file: Field required"),
        ("[csv]\nfile = 'x'\nkeep = 0\n", "csv.keep"),
        ("[[webhook]]\nurl = 'ftp://x/'\n", "give http:// or https://"),
        ("[[webhook]]\nurl = 'http://user:hunter2@x/'\n", "token_file"),
        ("[[webhook]]\nurl = 'http://x/'\n[[webhook]]\nurl = 'http://y/'\n", "its own name"),
        ("[[webhook]]\nurl = 'http://x/'\ntoken_file = 'nothing'\n", "the secret cannot be read"),
        ("[[webhook]]\nurl = 'http://x/'\ntoken_file = 'open'\n", "chmod 600"),
        ("[[webhook]]\nurl = 'http://x/'\ntoken_file = 'empty'\n", "holds no secret"),
        ("[mqtt]\nurl = 'http://x'\n", "is no broker"),
        ("[mqtt]\nurl = 'mqtt://u:hunter2@x'\n", "password_file"),
        ("[mqtt]\nurl = 'mqtt://x'\ntopic = 'a/#'\n", "without + and #"),
        ("[mqtt]\nurl = 'mqtts://x'\nca_file = 'empty'\n", "PEM"),
    ],
)
def test_a_bad_configuration_is_one_sentence_without_secrets(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "open").write_text("secret")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "empty").write_text("")
    (tmp_path / "empty").chmod(0o600)
    with pytest.raises(EdgeAdError) as caught:
        build_sinks(read_config(write(tmp_path / "station.toml", text)))
    sentence = str(caught.value)
    assert said in sentence
    assert "\n" not in sentence
    assert "hunter2" not in sentence


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    "given", [{"mqtt": "nonsense"}, {"webhook": ["nonsense"]}, {"mqtt": "mqtt://a:b@c"}, {"webhook": ["http://a:b@c/"]}]
)
def test_a_bad_option_is_wrong_usage(given: dict) -> None:
    with pytest.raises(OptionError):
        build_sinks(station_config(**given))


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_any_broker_address_is_read_or_refused(url: str) -> None:
    try:
        found = parse_broker(f"mqtt://{url}", "topic")
    except OptionError:
        return
    assert found.host
    assert 0 <= found.port < 65536
