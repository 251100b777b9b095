"""The connection to an MQTT broker: what the sink and the trigger share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edge_ad.errors import OptionError

if TYPE_CHECKING:
    from paho.mqtt.client import Client

PORTS = {"mqtt": 1883, "mqtts": 8883}
#: Pauses between attempts to connect, seconds: doubled from the first to the second.
RECONNECT = (1, 30)
KEEPALIVE = 20


@dataclass(frozen=True)
class Broker:
    """Where the broker is and who we are.

    topic: the station's own, everything is below it, e.g. "edge-ad/line-1". ca_file: certificates to trust instead of
    the system's, for mqtts.
    """

    host: str
    port: int
    topic: str
    tls: bool = False
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None

    def client(self, role: str, *, persistent: bool = False, manual_ack: bool = False) -> Client:
        """A client that connects once its loop is started, and again whenever the connection breaks.

        role: end of the client id; two clients of one id push each other off the broker. persistent: the broker keeps
        messages for it while it is away. manual_ack: messages are acknowledged by the caller.
        """
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{re.sub('[^0-9A-Za-z]+', '-', self.topic)}-{role}",
            clean_session=not persistent,
            manual_ack=manual_ack,
        )
        client.reconnect_delay_set(*RECONNECT)
        if self.username is not None:
            client.username_pw_set(self.username, self.password)
        if self.tls:
            try:
                client.tls_set(ca_certs=None if self.ca_file is None else str(self.ca_file))
            except (OSError, ValueError) as error:
                raise OptionError(f"{self.ca_file}: holds no certificates that can be read; give a PEM file") from error
        return client


def parse_broker(url: str, topic: str) -> Broker:
    """A broker from `mqtt://[user@]host[:port]` or `mqtts://…`.

    Raises OptionError for another scheme, a password in the URL, a path, or a topic with wildcards.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise OptionError(f"{url}: is no URL; give mqtt://host:1883") from None
    if parts.password is not None:
        # the URL itself is not shown: it holds the secret
        raise OptionError(f"the URL of the MQTT broker {parts.hostname} holds a password; put it in a password_file")
    if parts.scheme not in PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise OptionError(f"{url}: is no broker; give mqtt://host:1883, or mqtts://host:8883 for TLS")
    if not topic or re.search("[+#\0]", topic) or topic.startswith(("$", "/")) or topic.endswith("/"):
        raise OptionError(f"MQTT topic {topic!r}: give words between slashes without + and #, such as edge-ad/line-1")
    return Broker(
        host=parts.hostname,
        port=port or PORTS[parts.scheme],
        topic=topic,
        tls=parts.scheme == "mqtts",
        username=parts.username,
    )
