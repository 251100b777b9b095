"""What a station is connected to: a TOML file or the options of `edge-ad serve`, to sources and sinks."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from edge_ad.errors import InputError, OptionError
from edge_ad.runtime.serve.broker import Broker, parse_broker
from edge_ad.runtime.serve.decision import Verdict
from edge_ad.runtime.serve.protocols import Sink, Source

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _to_path(value: object) -> object:
    return Path(value) if isinstance(value, str) and value else value


FilePath = Annotated[Path, BeforeValidator(_to_path)]


class Watch(_Section):
    """`[[watch]]`: a watched folder; see `sources.folder.FolderSource`."""

    folder: FilePath
    name: Name = "watch"
    category: str | None = None
    product: str | None = None
    after: Literal["leave", "move"] = "leave"
    settle_seconds: Positive = 0.5


class CameraSection(_Section):
    """`[[camera]]`: a camera; `address` is a device number, a URL or a video file."""

    name: Name
    address: str | int
    password_file: FilePath | None = None
    category: str | None = None
    product: str | None = None
    every_seconds: Positive | None = None


class Mqtt(_Section):
    """`[mqtt]`: a broker that takes the decisions and, with `trigger`, asks for inspections."""

    url: str
    topic: str = "edge-ad"
    password_file: FilePath | None = None
    ca_file: FilePath | None = None
    trigger: bool = False

    def broker(self) -> Broker:
        """The broker, its password read from the file. Raises OptionError and InputError."""
        broker = parse_broker(self.url, self.topic)
        return Broker(
            **{
                **broker.__dict__,
                "ca_file": self.ca_file,
                "password": None if self.password_file is None else read_secret(self.password_file),
            }
        )


class Webhook(_Section):
    """`[[webhook]]`: an address that decisions are posted to."""

    url: str
    name: Name = "webhook"
    token_file: FilePath | None = None
    secret_file: FilePath | None = None
    verdicts: list[Verdict] = ["good", "bad", "undecided"]
    timeout_seconds: Positive = 10.0

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.password is not None:
            raise ValueError("holds a password; put a token into token_file")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give http:// or https:// and a host")
        return url


class Csv(_Section):
    """`[csv]`: a file that gets one row a decision."""

    file: FilePath
    max_megabytes: Positive = 16.0
    keep: int = Field(default=20, ge=1)


class StationConfig(_Section):
    """Everything a station is connected to. state: folder for what must survive a restart."""

    state: FilePath | None = None
    watch: list[Watch] = []
    camera: list[CameraSection] = []
    mqtt: Mqtt | None = None
    webhook: list[Webhook] = []
    csv: Csv | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> StationConfig:
        for sections in (self.watch + self.camera, self.webhook):
            names = [section.name for section in sections]
            for name in names:
                if names.count(name) > 1 or name in ("mqtt", "csv", "http"):
                    raise ValueError(f"name {name!r} is taken twice or kept for the station: give each its own name")
        return self

    @model_validator(mode="after")
    def _cameras_have_work(self) -> StationConfig:
        for camera in self.camera:
            if camera.every_seconds is None and (self.mqtt is None or not self.mqtt.trigger):
                raise ValueError(f"camera {camera.name}: give every_seconds, or [mqtt] with trigger = true")
        return self


def read_config(path: Path) -> StationConfig:
    """Read `station.toml`; relative paths in it start at its folder.

    Raises InputError in one sentence: no such file, no TOML, an unknown key, a value that cannot be.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})") from None
    try:
        config = StationConfig.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is no TOML: {error}") from None
    except ValidationError as error:
        raise InputError(f"{path}: {_first(error)}") from None
    return _resolved(config, Path(path).absolute().parent)


def station_config(
    path: Path | None = None,
    *,
    watch: Iterable[Path] = (),
    mqtt: str | None = None,
    webhook: Iterable[str] = (),
    csv: Path | None = None,
) -> StationConfig:
    """The file's configuration with the options of the command line added: `--watch`, `--mqtt`, `--webhook`, `--csv`.

    Raises InputError for the file, OptionError for an option, or one that the file gives too.
    """
    config = StationConfig() if path is None else read_config(path)
    for given, already, option in ((mqtt, config.mqtt, "mqtt"), (csv, config.csv, "csv")):
        if given is not None and already is not None:
            raise OptionError(f"--{option} {given}: {path} has [{option}] too; give one of them")
    added: dict[str, Any] = {
        "watch": [{"folder": str(Path(folder).absolute())} for folder in watch],
        "webhook": [{"url": url} for url in webhook],
    }
    for kind, sections in added.items():
        taken = {section.name for section in getattr(config, kind)}
        names = (f"{kind}-{number}" if number > 1 else kind for number in itertools.count(1))
        free = (name for name in names if name not in taken)
        sections[:] = [{**section, "name": next(free)} for section in sections]
    if mqtt is not None:
        added["mqtt"] = {"url": mqtt}
    if csv is not None:
        added["csv"] = {"file": str(Path(csv).absolute())}
    try:
        extra = StationConfig.model_validate(added)
        return StationConfig(
            state=config.state,
            watch=config.watch + extra.watch,
            camera=config.camera,
            mqtt=config.mqtt or extra.mqtt,
            webhook=config.webhook + extra.webhook,
            csv=config.csv or extra.csv,
        )
    except ValidationError as error:
        raise OptionError(f"--{_first(error)}") from None


def build_sources(config: StationConfig) -> list[Source]:
    """The sources of a configuration; nothing is connected before they run.

    Raises InputError or OptionError for a folder or a secret that is not there.
    """
    from edge_ad.runtime.serve.sources.camera import Camera, CameraSource, check_address
    from edge_ad.runtime.serve.sources.folder import FolderSource
    from edge_ad.runtime.serve.sources.trigger import MqttTrigger, TriggeredCamera

    sources: list[Source] = []
    for watch in config.watch:
        if not watch.folder.is_dir():
            raise InputError(f"{watch.folder}: no such folder to watch; make it first")
        digest = hashlib.sha256(str(watch.folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        sources.append(
            FolderSource(
                watch.folder,
                journal=state_folder(config) / f"watch-{digest}.jsonl",
                name=watch.name,
                category=watch.category,
                product=watch.product,
                after=watch.after,
                settle=watch.settle_seconds,
            )
        )
    cameras: dict[str, TriggeredCamera] = {}
    for section in config.camera:
        if isinstance(section.address, str):
            check_address(section.address)
        password = None if section.password_file is None else read_secret(section.password_file)
        camera = Camera(section.name, section.address, password=password)
        cameras[section.name] = TriggeredCamera(camera, section.category, section.product)
        sources.append(
            CameraSource(camera, category=section.category, product=section.product, every=section.every_seconds)
        )
    if cameras:
        _need("cv2")
    if config.mqtt is not None and config.mqtt.trigger:
        _need("paho")
        sources.append(MqttTrigger(config.mqtt.broker(), cameras))
    return sources


def build_sinks(config: StationConfig) -> list[Sink]:
    """The sinks of a configuration. That of MQTT begins to connect.

    Raises InputError or OptionError for a secret that is not there or an address that cannot be.
    """
    from edge_ad.runtime.serve.sinks.csv_file import CsvSink
    from edge_ad.runtime.serve.sinks.mqtt import MqttSink
    from edge_ad.runtime.serve.sinks.webhook import WebhookSink

    secrets = [
        (
            None if webhook.token_file is None else read_secret(webhook.token_file),
            None if webhook.secret_file is None else read_secret(webhook.secret_file).encode(),
        )
        for webhook in config.webhook
    ]
    broker = None if config.mqtt is None else config.mqtt.broker()
    if broker is not None:
        _need("paho")
    if config.csv is not None and config.csv.file.is_dir():
        raise InputError(f"{config.csv.file}: is a folder; name a CSV file")
    sinks: list[Sink] = []
    for webhook, (token, secret) in zip(config.webhook, secrets):
        sinks.append(
            WebhookSink(
                webhook.url,
                name=webhook.name,
                token=token,
                secret=secret,
                verdicts=webhook.verdicts,
                timeout=webhook.timeout_seconds,
            )
        )
    if config.csv is not None:
        size = math.ceil(config.csv.max_megabytes * (1 << 20))
        sinks.append(CsvSink(config.csv.file, max_bytes=size, keep=config.csv.keep))
    if broker is not None:
        sinks.append(MqttSink(broker))
    return sinks


def state_folder(config: StationConfig) -> Path:
    """Where sources keep what must survive a restart, made if missing.

    `state` of the configuration, else systemd's STATE_DIRECTORY, else `~/.local/state/edge-ad`. InputError if it cannot
    be written.
    """
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = config.state or (Path(given) if given else Path(base) / "edge-ad")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); set state in the configuration") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: may not be written; set state in the configuration to a folder that may")
    return folder


def read_secret(path: Path) -> str:
    """The secret in a file, without the line end. InputError: missing, empty, or readable by everyone."""
    try:
        mode = path.stat().st_mode
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise InputError(f"{path}: the secret cannot be read ({reason})") from None
    if os.name == "posix" and mode & stat.S_IROTH:
        raise InputError(f"{path}: everyone may read this secret; chmod 600 {path}")
    if not secret or not secret.isprintable():
        raise InputError(f"{path}: holds no secret; write it into the file's one line")
    return secret


def _need(module: str) -> None:
    """ModuleNotFoundError, whose sentence names the extra, before anything starts."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def _resolved(config: StationConfig, base: Path) -> StationConfig:
    """The configuration with relative paths taken from `base`."""

    def resolve(section: Any) -> Any:
        changes: dict[str, Any] = {}
        for key in type(section).model_fields:
            value = getattr(section, key)
            if isinstance(value, Path):
                changes[key] = base / value
            elif isinstance(value, _Section):
                changes[key] = resolve(value)
            elif isinstance(value, list):
                changes[key] = [resolve(item) if isinstance(item, _Section) else item for item in value]
            elif key == "address" and isinstance(value, str) and "://" not in value:
                changes[key] = str(base / value)
        return section.model_copy(update=changes)

    resolved: StationConfig = resolve(config)
    return resolved


def _first(error: ValidationError) -> str:
    """The first thing wrong, without the value: it may be a secret in the wrong place."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is no such key"
    return f"{where}: {message}" if where else message
