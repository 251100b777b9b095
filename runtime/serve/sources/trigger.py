"""Inspections asked for by MQTT: a message names a camera, or carries an image."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_ad.errors import EdgeAdError, InputError
from edge_ad.runtime.serve.broker import KEEPALIVE, Broker
from edge_ad.runtime.serve.decision import Decision, Expired, InspectionFailed, Overloaded
from edge_ad.runtime.serve.lines import Throttle, log
from edge_ad.runtime.serve.sources.attempts import Attempts
from edge_ad.runtime.serve.sources.camera import Camera
from edge_ad.runtime.serve.sources.waiting import stopped_within

if TYPE_CHECKING:
    from edge_ad.runtime.serve.station import Station

#: Larger messages are refused, bytes.
MAX_BYTES = 64 << 20
#: An image that the broker keeps for us may wait, seconds.
DEADLINE = 3600.0
#: Messages in hand at once; beyond it triggers, and images that the broker does not keep, are refused at once.
MAX_IN_HAND = 64
#: Without a subscription for so long the trigger tells that it fails, seconds.
DEAF = 5.0


class Trigger(BaseModel):
    """The JSON of a message to `<topic>/trigger`. id: repeated in the answer. category: else the camera's."""

    model_config = ConfigDict(extra="forbid")

    camera: str
    category: str | None = None
    product: str | None = None
    id: str | None = Field(default=None, max_length=200)
    deadline_s: float | None = Field(default=None, gt=0, le=3600)


class Answer(BaseModel):
    """What is published to `<topic>/answer`: the decision, or the error in one sentence."""

    id: str | None
    decision: Decision | None = None
    error: str | None = None


@dataclass(frozen=True)
class TriggeredCamera:
    """A camera that a message may name, with what it looks at when the message does not say."""

    camera: Camera
    category: str | None = None
    product: str | None = None


class MqttTrigger:
    """Inspects on messages and answers each on `<topic>/answer` (QoS 1).

    - `<topic>/trigger`, JSON as in `Trigger`: the named camera takes a picture at once. Subscribed with QoS 0, so that
      no broker hands over a trigger whose part has long gone; with no room in the station it is answered with an error.
    - `<topic>/inspect/<category>` or `<topic>/inspect/<category>/<id>`, the bytes of an image file: QoS 1 in a
      persistent session, acknowledged after the decision, so that the broker brings it again after a crash. One that
      was decided on before the crash is answered from the records.

    A retained message comes again at every connection, so it is no request: none is inspected.
    """

    def __init__(self, broker: Broker, cameras: Mapping[str, TriggeredCamera], *, name: str = "mqtt"):
        self.name = name
        self._broker = broker
        self._cameras = cameras
        self._in_hand: dict[str, asyncio.Task[None]] = {}
        self._attempts = Attempts()
        self._count = 0
        self._retained: set[str] = set()  # topics whose retained message was answered
        self._refusals = Throttle(1.0)
        self._deaf_since: float | None = None  # while it runs and is not subscribed; set by the client's thread too
        self._unreached = False

    @property
    def failing(self) -> bool:
        """Whether nothing can come from the broker, or what came last could not be inspected and is tried again."""
        since = self._deaf_since  # read once: the other thread may clear it
        return self._attempts.failing or (since is not None and time.monotonic() - since >= DEAF)

    async def run(self, station: Station, stop: asyncio.Event) -> None:
        """Connect and answer messages until `stop` is set; those in hand are finished."""
        loop = asyncio.get_running_loop()
        client = self._broker.client("in", persistent=True, manual_ack=True)
        client.on_connect = self._connected
        client.on_connect_fail = self._not_reached
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected

        def on_message(_client: Any, _userdata: Any, message: Any) -> None:  # in the client's thread
            loop.call_soon_threadsafe(self._take, client, message, station, stop)

        client.on_message = on_message
        self._deaf_since = time.monotonic()
        client.connect_async(self._broker.host, self._broker.port, KEEPALIVE)
        client.loop_start()
        try:
            await stop.wait()
            while self._in_hand:
                await asyncio.wait(list(self._in_hand.values()))
        finally:
            if self._in_hand:  # cancelled while answers are on their way: they get a moment
                await asyncio.wait(list(self._in_hand.values()), timeout=1.0)
            for task in self._in_hand.values():
                task.cancel()
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)
            self._deaf_since = None

    def _take(self, client: Any, message: Any, station: Station, stop: asyncio.Event) -> None:
        """Begin with one message; runs in the event loop."""
        if stop.is_set():
            return  # not acknowledged: the broker keeps an image for the next start
        kind, _, rest = message.topic[len(self._broker.topic) + 1 :].partition("/")
        if message.retain:
            self._refuse_retained(client, message, kind, rest)
            return
        full = len(self._in_hand) >= MAX_IN_HAND
        if kind == "trigger":
            if full:
                self._answer(client, Answer(id=None, error=f"{MAX_IN_HAND} triggers are in hand already; slow down"))
                return
            self._count += 1
            key, work = f"trigger {self._count}", self._on_trigger(client, message.payload, station)
        else:
            if full and message.qos == 0:  # of the others the broker hands over only so many
                reason = f"{MAX_IN_HAND} messages are in hand already; publish with QoS 1, and the broker keeps it"
                self._answer(client, Answer(id=rest.partition("/")[2] or None, error=reason))
                return
            # what the broker brings again has the number that it had
            source = f"{self.name}: {rest} {hashlib.sha256(message.payload).hexdigest()[:16]} {message.mid}"
            key = source
            if key in self._in_hand:
                if message.dup:  # brought again after a reconnect: it is acknowledged with the one in hand
                    return
                self._count += 1  # another message with the same image: it gets a decision of its own
                key = f"{key} {self._count}"
            work = self._on_image(client, message, rest, source, station, stop)
        task = asyncio.create_task(work, name=key)
        self._in_hand[key] = task
        task.add_done_callback(self._done)

    def _refuse_retained(self, client: Any, message: Any, kind: str, rest: str) -> None:
        """An old trigger is nobody's; whoever sent an image hears of it, once a topic."""
        reason = "a retained message is not inspected, the broker hands it over at every connection; do not retain it"
        if kind == "trigger":
            if self._refusals():
                log("trigger ignored", level="warning", source=self.name, reason=reason)
            return
        if message.topic not in self._retained:
            self._retained.add(message.topic)
            self._answer(client, Answer(id=rest.partition("/")[2] or None, error=reason))
        client.ack(message.mid, message.qos)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_hand.pop(task.get_name(), None)
        self._attempts.keep(self._in_hand)
        if not task.cancelled() and task.exception() is not None:
            log("trigger failed", level="error", source=self.name, message=task.get_name(), error=task.exception())

    async def _on_trigger(self, client: Any, payload: bytes, station: Station) -> None:
        asked: Trigger | None = None
        try:
            asked = parse_trigger(payload)
            known = self._cameras.get(asked.camera)
            if known is None:
                names = ", ".join(sorted(self._cameras)) or "none"
                raise InputError(f"camera {asked.camera}: not in the configuration; there are: {names}")
            picture = await known.camera.picture()
            decision = await station.inspect(
                picture,
                asked.category or known.category,
                product=asked.product or known.product,
                source=asked.camera,
                deadline_s=asked.deadline_s,
            )
            self._answer(client, Answer(id=asked.id, decision=decision))
        except EdgeAdError as error:
            self._answer(client, Answer(id=asked.id if asked else None, error=str(error)))

    async def _on_image(
        self, client: Any, message: Any, rest: str, source: str, station: Station, stop: asyncio.Event
    ) -> None:
        category, _, identity = rest.partition("/")
        try:
            if len(message.payload) > MAX_BYTES:
                raise InputError(f"image: is larger than {MAX_BYTES >> 20} MiB; send it smaller")
            decision = await station.recorded(source) if message.dup else None
            while decision is None:
                if stop.is_set():
                    return  # not acknowledged
                try:
                    decision = await station.inspect_file(
                        message.payload,
                        category or None,
                        source=source,
                        deadline_s=DEADLINE,
                        alone=source in self._attempts,
                    )
                    self._attempts.decided()
                except Overloaded as error:
                    await stopped_within(stop, error.retry_after_s)
                except Expired:
                    continue  # the station is far behind
                except InspectionFailed as error:
                    if self._attempts.failed(source, error):
                        raise
                    await stopped_within(stop, self._attempts.pause)
            self._answer(client, Answer(id=identity or None, decision=decision))
        except EdgeAdError as error:
            self._answer(client, Answer(id=identity or None, error=str(error)))
        client.ack(message.mid, message.qos)

    def _answer(self, client: Any, answer: Answer) -> None:
        if answer.error is not None and self._refusals():
            log("trigger refused", level="warning", source=self.name, reason=answer.error)
        client.publish(f"{self._broker.topic}/answer", answer.model_dump_json(), qos=1)

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            log("broker refuses", level="error", source=self.name, broker=self._broker.host, reason=str(reason))
            return
        self._unreached = False
        log("connected to broker", source=self.name, broker=self._broker.host)
        client.subscribe([(f"{self._broker.topic}/trigger", 0), (f"{self._broker.topic}/inspect/#", 1)])

    def _not_reached(self, client: Any, userdata: Any) -> None:
        if not self._unreached:  # once, not at every attempt
            reason = str(sys.exc_info()[1])  # it is called where the client handles the error
            log("broker not reached", level="error", source=self.name, broker=self._broker.host, reason=reason)
        self._unreached = True

    def _subscribed(self, client: Any, userdata: Any, mid: int, reasons: list[Any], properties: Any) -> None:
        if refused := [str(reason) for reason in reasons if reason.is_failure]:
            log("broker refuses", level="error", source=self.name, broker=self._broker.host, reason=refused[0])
        else:
            self._deaf_since = None

    def _disconnected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._deaf_since = self._deaf_since or time.monotonic()
            log("broker lost", level="warning", source=self.name, broker=self._broker.host, reason=str(reason))


def parse_trigger(payload: bytes) -> Trigger:
    """The message to `<topic>/trigger`. InputError, one sentence, for anything else than the JSON of a `Trigger`."""
    try:
        return Trigger.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the message"
        raise InputError(f'trigger: {where}: {first["msg"]}; send JSON such as {{"camera": "line-1"}}') from None
