"""The page in a real Chromium, served by a real station: `edge-ad serve` in a process of its own."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_ad.bundle_files import read_manifest, write_manifest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MS = 60_000  # long, for a busy machine; a test that passes does not wait
PANEL = {"width": 1280, "height": 800}


class Server:
    """A running station; it can be killed and started again on the same port and records."""

    def __init__(self, bundle: Path, folder: Path, *options: str):
        self.folder = folder
        (folder / "in" / "ring").mkdir(parents=True)
        (folder / "in" / "weave").mkdir()
        self.command = [
            sys.executable,
            "-m",
            "edge_ad",
            "serve",
            f"line={bundle}",
            "--records",
            str(folder / "records"),
        ]
        self.command += [*options, "--provider", "cpu", "--threads", "1", "--watch", str(folder / "in"), "--port"]
        self.port = 0
        self.start()

    def start(self) -> None:
        self.log = self.folder / f"log-{time.monotonic_ns()}"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "STATE_DIRECTORY": str(self.folder / "state")}
        command = [*self.command, str(self.port)]
        self.process = subprocess.Popen(command, stderr=self.log.open("w"), cwd="/", env=environment)
        self.port = int(self.line("listening")["port"])
        self.line("ready")

    def line(self, event: str) -> dict:
        """A line of the log, once it is there."""
        end = time.monotonic() + 180
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            for text in self.log.read_text().splitlines():
                if text.endswith("}") and (found := json.loads(text))["event"] == event:
                    return found
            time.sleep(0.1)

    def stop(self, sig: int = signal.SIGTERM) -> None:
        self.process.send_signal(sig)
        self.process.wait(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def inspect(self, category: str, picture: np.ndarray) -> dict:
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "PNG")
        headers = {"Content-Type": "image/png"}
        request = urllib.request.Request(f"{self.url}v1/inspect?category={category}", out.getvalue(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory) -> Iterator[Server]:
    pytest.importorskip("fastapi", reason="needs the serve extra")
    folder = tmp_path_factory.mktemp("page")
    bundle = folder / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    manifest = read_manifest(bundle)
    for name, entry in manifest.categories.items():  # with random weights every ring is bad and every weave is good
        entry.thresholds = {plan: {"fp32": 1e-6 if name == "ring" else 1e6} for plan in manifest.plans}
    write_manifest(bundle, manifest)
    one = Server(bundle, folder)
    yield one
    one.stop()


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # root has no sandbox
        yield one
        one.close()


@pytest.fixture
def open_page(browser, server: Server) -> Iterator[Callable[..., object]]:
    """Opens the page; at the end no error is in its console and no request has gone anywhere else."""
    contexts, wrong = [], []

    def begin(fragment: str = "", allow: str = "^$", **options):
        context = browser.new_context(viewport=PANEL, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(MS)

        def said(kind: str, words: str) -> None:
            if kind in ("error", "warning") and not re.search(allow, words):
                wrong.append(words)

        page.on("console", lambda message: said(message.type, message.text))
        page.on("pageerror", lambda error: said("error", str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith((server.url, f"blob:{server.url}")) or wrong.append(request.url),
        )
        page.goto(server.url + fragment)
        page.locator("#connection.connected").wait_for()
        return page

    yield begin
    for context in contexts:
        context.close()
    assert wrong == []


def expect(locator):
    from playwright.sync_api import expect

    expect.set_options(timeout=MS)
    return expect(locator)


def test_a_part_on_the_line_appears(open_page, server: Server, tiny_picture) -> None:
    page = open_page()
    Image.fromarray(tiny_picture).save(server.folder / "part.png")
    os.rename(server.folder / "part.png", server.folder / "in" / "ring" / "part.png")  # as a camera's program would
    expect(page.locator(".verdict.bad h1")).to_have_text("Bad")
    decision = server.get("v1/records?limit=1")["records"][0]
    assert decision["source"].startswith("watch: ring/part.png")
    shown = page.locator(".live > .views img")
    assert [image.get_attribute("src") for image in shown.all()] == [
        decision["pictures"][kind] for kind in ("map", "inpainted")
    ]
    page.get_by_role("button", name="Defect map").click()
    expect(shown.first).to_have_attribute("src", decision["pictures"]["image"])
    server.inspect("weave", tiny_picture)
    expect(page.locator(".verdict.good h1")).to_have_text("Good")
    expect(page.get_by_text("below the limit").first).to_be_visible()
    counts = server.get("v1/status")["counts"]
    expect(page.locator(".tile.bad dd")).to_have_text(str(counts["bad"]))
    expect(page.locator(".tile.good dd")).to_have_text(str(counts["good"]))
    expect(page.locator(".tiles")).to_contain_text(f"{100 * counts['yield']:.1f}%")
    expect(page.locator("svg.chart")).to_have_attribute("aria-label", re.compile("newest scores of weave"))
    expect(page.locator("svg.chart .good")).to_have_count(counts["categories"]["weave"]["good"])
    for image in shown.all():
        assert image.evaluate("i => i.decode().then(() => i.naturalWidth)") > 0


def test_the_operator_corrects_with_one_press(open_page, server: Server, tiny_picture) -> None:
    page = open_page()
    decision = server.inspect("ring", tiny_picture)
    expect(page.locator(".verdict.bad")).to_be_visible()
    page.locator(".decision .choice.good").click()
    expect(page.locator(".decision")).to_contain_text("You corrected it: Good.")
    record = server.get(f"v1/records/{decision['record_id']}")
    assert (record["verdict"], record["operator_verdict"]) == ("bad", "good")

    page.get_by_role("link", name="History").click()
    page.locator("#view-history [name=verdict]").select_option("corrected")
    expect(page.locator(".records li")).to_have_count(1)
    page.locator(".records li button").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(decision["record_id"])
    dialog.get_by_label("Note").fill("only dust")
    dialog.get_by_role("button", name="Save note").click()
    dialog.locator(".choice.bad").click()
    expect(dialog).to_contain_text("You agreed: Bad.")
    record = server.get(f"v1/records/{decision['record_id']}")
    assert (record["operator_verdict"], record["note"]) == ("bad", "only dust")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_a_verdict_from_the_keyboard_is_of_the_part_on_the_screen(open_page, server: Server, tiny_picture) -> None:
    page = open_page()
    before = server.inspect("ring", tiny_picture)
    expect(page.locator(f".decision time[datetime='{before['time']}']")).to_be_visible()
    page.locator(".decision .choice.good").hover()
    page.mouse.down()
    page.mouse.move(5, 5)  # slid off the button: no verdict
    page.mouse.up()
    decision = server.inspect("weave", tiny_picture)
    expect(page.locator(f".decision time[datetime='{decision['time']}']")).to_be_visible()
    page.locator(".decision .choice.bad").press("Enter")
    expect(page.locator(".decision")).to_contain_text("You corrected it: Bad.")
    verdicts = [server.get(f"v1/records/{one['record_id']}")["operator_verdict"] for one in (before, decision)]
    assert verdicts == [None, "bad"]


def test_held_parts_stay_while_others_come(open_page, server: Server, tiny_picture) -> None:
    page = open_page()
    server.inspect("ring", tiny_picture)
    expect(page.locator(".verdict.bad")).to_be_visible()
    page.get_by_role("button", name="Hold").click()
    server.inspect("weave", tiny_picture)
    go_on = page.get_by_role("button", name="Go on (1 newer)")
    expect(go_on).to_be_visible()
    expect(page.locator(".verdict.bad")).to_be_visible()
    go_on.click()
    expect(page.locator(".verdict.good")).to_be_visible()


def test_history_filters(open_page, server: Server, tiny_picture) -> None:
    for category in ("ring", "weave", "weave"):
        server.inspect(category, tiny_picture)
    page = open_page("#history")
    rows = page.locator(".records .record")
    total = len(server.get("v1/records?limit=40")["records"])
    expect(rows).to_have_count(total)
    page.locator("#view-history [name=category]").select_option("weave")
    weaves = len(server.get("v1/records?limit=40&category=weave")["records"])
    expect(rows).to_have_count(weaves)
    assert 2 <= weaves < total
    page.locator("#view-history [name=verdict]").select_option("bad")
    expect(page.get_by_text("No part fits these filters.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(rows).to_have_count(total)
    page.locator("#view-history [name=since]").fill("2100-01-01T00:00")
    page.locator("#view-history [name=since]").dispatch_event("change")
    expect(rows).to_have_count(0)


def test_a_dropped_picture_is_inspected(open_page, tiny_picture, tmp_path: Path) -> None:
    page = open_page("#try")
    out = io.BytesIO()
    Image.fromarray(tiny_picture).save(out, "PNG")
    transfer = page.evaluate_handle(
        "bytes => { const t = new DataTransfer();"
        " t.items.add(new File([new Uint8Array(bytes)], 'dropped.png', { type: 'image/png' })); return t; }",
        list(out.getvalue()),
    )
    page.locator("#trial-category").select_option(label="weave")
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
    expect(page.locator("#view-try .full-top .badge")).to_have_text("Good")
    (tmp_path / "chosen.png").write_bytes(out.getvalue())
    page.locator("#trial-category").select_option(label="ring")
    page.locator("#trial-file").set_input_files(tmp_path / "chosen.png")
    expect(page.locator("#view-try .full-top .badge")).to_have_text("Bad")
    expect(page.locator("#view-try .outlines .over").first).to_be_attached()


def test_a_refused_picture_says_why(open_page, tmp_path: Path) -> None:
    page = open_page("#try", allow="415")  # Chromium notes the status of the answer
    (tmp_path / "text.png").write_text("no picture")
    page.locator("#trial-file").set_input_files(tmp_path / "text.png")
    expect(page.locator(".trial-message")).to_contain_text("That did not work: not an image")


def test_dark_and_light(open_page) -> None:
    def background(page) -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = open_page(color_scheme="light"), open_page(color_scheme="dark")
    shown = {"light": background(light), "dark": background(dark)}
    assert shown["light"] != shown["dark"]
    for name, page in (("light", light), ("dark", dark)):
        assert background(page) == shown[name]
        for wanted in ("light", "dark"):  # from "as the system" on
            page.locator("#theme").click()
            assert background(page) == shown[wanted]
    light.reload()  # the choice is kept
    assert background(light) == shown["dark"]


def test_the_page_is_for_fingers_keys_and_screen_readers(open_page, server: Server, tiny_picture) -> None:
    server.inspect("ring", tiny_picture)
    page = open_page()
    expect(page.locator(".verdict.bad")).to_be_visible()
    for fragment in ("#history", "#try", "#live"):
        page.goto(server.url + fragment)
        page.wait_for_timeout(300)
        small = page.evaluate(
            "[...document.querySelectorAll('button, select, nav a, summary, .drop, input:not(.unseen)')]"
            ".filter(e => e.offsetParent).map(e => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])"
            ".filter(([, r]) => r.width < 44 || r.height < 44)"
        )
        assert small == []
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, select, a, input, img, [role=img]')].filter(e => e.offsetParent)"
            ".filter(e => !(e.ariaLabel || e.textContent.trim() || e.hasAttribute('alt') || e.labels?.length))"
            ".map(e => e.outerHTML)"
        )
        assert nameless == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")  # the live view needs no scrolling
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    status = page.locator(".decision .unseen[role=status]")
    expect(status).to_contain_text("Bad: ring, Score")


def test_a_narrow_screen_does_not_scroll_sideways(open_page, server: Server) -> None:
    page = open_page()
    page.set_viewport_size({"width": 360, "height": 740})
    for fragment in ("#live", "#history", "#try"):
        page.goto(server.url + fragment)
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), fragment


def test_alarms_are_those_of_the_state(open_page) -> None:
    page = open_page()
    found = page.evaluate(
        """async () => {
          const { alarmsOf } = await import("/static/alarms.js");
          const calm = { ready: true, draining: false, products: [{}], worker: { up: true },
            queue: { length: 0, limit: 10 }, drift: { a: false, b: null }, sinks: { csv: { failing: false } },
            sources: { watch: { running: true, failing: false } } };
          const keys = (connection, change) => alarmsOf(connection, { ...calm, ...change }, null).map((one) => one.key);
          return [keys("connected", {}), keys("lost", {}), keys("connected", { ready: false }),
            keys("connected", { queue: { length: 8, limit: 10 } }), keys("connected", { drift: { a: true } }),
            keys("connected", { worker: { up: false }, ready: false }),
            keys("connected", { sinks: { csv: { failing: true } } }),
            keys("connected", { sources: { watch: { running: false } } }),
            keys("connected", { sources: { watch: { running: true, failing: true } } }),
            keys("connected", { products: [], ready: false }),
            keys("connected", { draining: true, ready: false, sources: { watch: { running: false } } })];
        }"""
    )
    assert found == [
        [], ["alarmLost"], ["alarmNotReady"], ["alarmQueue"], ["alarmDrift"], ["alarmWorker"], ["alarmSink"],
        ["alarmSource"], ["alarmSource"], ["alarmProducts"], ["alarmDraining"],
    ]  # fmt: skip


def test_text_from_the_station_is_never_html(open_page) -> None:
    page = open_page()
    words = "<img src=x onerror=window.hacked=1>"
    count = page.evaluate(
        """async (words) => {
          const { fullDecision } = await import("/static/detail.js");
          const full = fullDecision(() => {});
          full.show({ record_id: words, time: "2026-11-22T02:00:00.000Z", product: words, category: words,
            verdict: "bad", score: 1, threshold: 0.5, regions: [], times: {}, bundle_sha256: words, source: words,
            plan: words, pictures: {}, drift: true, operator_verdict: null, note: words });
          document.body.append(full.element);
          return full.element.querySelectorAll("img").length;
        }""",
        words,
    )
    assert count == 0
    assert page.evaluate("window.hacked") is None


def test_a_lost_station_is_told_and_found_again(open_page, server: Server, tiny_picture) -> None:
    page = open_page(allow="ERR_|Failed to load resource|503")
    server.stop(signal.SIGKILL)
    alarm = page.locator("#alarms .alarm.bad")
    expect(alarm).to_contain_text("No connection to the station")
    expect(page.locator("#connection")).to_have_text("No connection")
    server.start()
    expect(page.locator("#connection.connected")).to_be_visible()
    expect(alarm).to_have_count(0)
    before = server.inspect("weave", tiny_picture)
    expect(page.locator(f".decision time[datetime='{before['time']}']")).to_be_visible()


def test_a_session_that_has_ended_goes_to_the_login(browser, server: Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse-battery")
    bundle = next(part for part in server.command if part.startswith("line=")).removeprefix("line=")
    other = Server(Path(bundle), tmp_path / "other", "--token-file", str(token))
    context = browser.new_context()
    try:
        page = context.new_page()
        page.set_default_timeout(MS)
        page.goto(f"{other.url}login")
        page.locator("[name=token]").fill("correct-horse-battery")
        page.keyboard.press("Enter")
        page.locator("#connection.connected").wait_for()
        other.stop(signal.SIGKILL)
        token.write_text("another-horse-battery")
        other.start()
        page.wait_for_url("**/login")
    finally:
        context.close()
        other.stop()
