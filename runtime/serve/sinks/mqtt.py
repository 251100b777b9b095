"""Decisions to an MQTT broker, QoS 1, and a retained topic that says whether the station is there."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from edge_ad.runtime.serve.broker import KEEPALIVE, Broker
from edge_ad.runtime.serve.decision import Decision
from edge_ad.runtime.serve.lines import log
from edge_ad.version import __version__

#: How long a decision waits for the connection and for the broker's acknowledgement before the station hears, seconds.
PATIENCE = 5.0


class MqttSink:
    """Publishes each decision as JSON to `<topic>/decision`, in order, each at least once.

    `<topic>/state` is retained and QoS 1: {"state": "online", "version": …} while connected, {"state": "offline"} after
    a normal end, and the same by the broker itself (last will) when the station or the network dies.
    """

    def __init__(self, broker: Broker, *, name: str = "mqtt", patience: float = PATIENCE):
        self.name = name
        self._broker = broker
        self._patience = patience
        self._changed = threading.Condition()
        self._online = False
        self._acknowledged: set[int] = set()
        self._handed: tuple[str, int] | None = None  # record id and message id of what the client has taken over
        self._client = broker.client("out")
        self._client.will_set(f"{broker.topic}/state", json.dumps({"state": "offline"}), qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.connect_async(broker.host, broker.port, KEEPALIVE)
        self._client.loop_start()

    async def publish(self, decision: Decision) -> None:
        """Publish one decision and wait for its acknowledgement. ConnectionError if that takes too long."""
        await asyncio.to_thread(self._publish, decision)

    async def close(self) -> None:
        """Say "offline" and disconnect."""
        await asyncio.to_thread(self._close)

    def _publish(self, decision: Decision) -> None:
        where = f"{self._broker.host}:{self._broker.port}"
        # What the client has taken over it sends again after a reconnect: handing it over twice would double it.
        if self._handed is None or self._handed[0] != decision.record_id:
            with self._changed:
                if not self._changed.wait_for(lambda: self._online, self._patience):
                    raise ConnectionError(f"no connection to the MQTT broker {where}")
            # Not under the lock: the client calls `_on_publish` while it holds a lock of its own that this needs.
            sent = self._client.publish(f"{self._broker.topic}/decision", decision.model_dump_json(), qos=1)
            self._handed = (decision.record_id, sent.mid)
        number = self._handed[1]
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._acknowledged, self._patience):
                raise ConnectionError(f"the MQTT broker {where} does not acknowledge")
            self._acknowledged.clear()
        self._handed = None

    def _close(self) -> None:
        if self._client.is_connected():
            self._client.publish(f"{self._broker.topic}/state", json.dumps({"state": "offline"}), 1, True)
        self._client.disconnect()  # what is queued goes first
        self._client.loop_stop()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            log("broker refuses", level="error", sink=self.name, broker=self._broker.host, reason=str(reason))
            return
        log("connected to broker", sink=self.name, broker=self._broker.host)
        state = json.dumps({"state": "online", "version": __version__})
        client.publish(f"{self._broker.topic}/state", state, qos=1, retain=True)
        with self._changed:
            self._online = True
            self._changed.notify_all()

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            self._online = False
        if reason.is_failure:
            log("broker lost", level="warning", sink=self.name, broker=self._broker.host, reason=str(reason))

    def _on_publish(self, client: Any, userdata: Any, number: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self._acknowledged.add(number)
            self._changed.notify_all()
