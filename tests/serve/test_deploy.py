"""What lies in deploy/: checked as far as it can be without installing a service or building an image."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_ad.commands.serve import command as serve
from edge_ad.runtime.serve.config import build_sources, read_config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILES = sorted(DEPLOY.glob("Containerfile*"))

pytestmark = pytest.mark.skipif(not DEPLOY.is_dir(), reason="needs the checkout")


def options_of(arguments: list[str]) -> dict:
    """What `edge-ad serve` understands of a command line; an unknown option raises."""
    return serve.make_context("serve", arguments).params


# the service


def unit_settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "edge-ad.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def environment_file() -> dict[str, str]:
    lines = (DEPLOY / "edge-ad.env").read_text().splitlines()
    return {key: shlex.split(value)[0] for key, _, value in (line.partition("=") for line in lines if line[:1] != "#")}


def test_the_service_starts_what_serve_understands() -> None:
    settings = unit_settings()
    line = settings["ExecStart"][0].replace("%S", "/var/lib")
    for name, value in environment_file().items():
        line = line.replace(f"${name}", value)
    program, verb, *arguments = line.split()
    assert (Path(program).name, verb) == ("edge-ad", "serve")
    options = options_of(arguments)
    assert options["bundles"] == ("line=/var/lib/edge-ad/bundles/line.tar",)
    assert options["records"].is_relative_to(f"/var/lib/{settings['StateDirectory'][0]}")
    assert options["host"] == "127.0.0.1"
    assert options["keep_days"] == 90


def test_the_environment_file_comments_are_valid_too() -> None:
    text = (DEPLOY / "edge-ad.env").read_text()
    (other,) = re.findall('^# OPTIONS="(.*)"$', text, re.MULTILINE)
    assert options_of(["bundle", *other.split()])["token_file"] is not None


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program and a user that this machine has, which systemd asks for."""
    text = (DEPLOY / "edge-ad.service").read_text()
    text = re.sub(r"/opt/edge-ad/bin/edge-ad", shutil.which("true") or "/bin/true", text)
    text = re.sub(r"^(User|Group)=.*$", r"\1=root", text, flags=re.MULTILINE)
    path = tmp_path / "edge-ad.service"
    path.write_text(text)
    return path


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    environment = {**os.environ, "SYSTEMD_PAGER": "", "LC_ALL": "C"}
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


def test_systemd_accepts_the_unit(unit: Path) -> None:
    done = systemd_analyze("verify", "--man=no", str(unit))
    assert done.returncode == 0, done.stderr
    mine = [line for line in done.stderr.splitlines() if "edge-ad" in line]
    assert mine == []


def test_the_unit_is_hardened(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("=root", "=edge-ad"))
    done = systemd_analyze("security", "--offline=true", "--no-pager", "--threshold=25", str(unit))
    if "unrecognized option" in done.stderr or "Unknown" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at a file")
    assert done.returncode == 0, done.stdout  # exposure above 2.5 of 10


# the configuration


def test_the_example_configuration_is_valid(tmp_path: Path, monkeypatch) -> None:
    config = read_config(DEPLOY / "station.toml")
    assert [watch.folder for watch in config.watch] == [Path("/srv/edge-ad/in")]
    assert config.csv is not None


def test_so_is_everything_in_its_comments(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("paho.mqtt", reason="needs the mqtt extra")
    pytest.importorskip("cv2", reason="needs the camera extra")
    text = (DEPLOY / "station.toml").read_text()
    text = re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE).replace("/srv/edge-ad", str(tmp_path))
    (tmp_path / "station.toml").write_text(text)
    (tmp_path / "in").mkdir()
    for name in re.findall(r'_file = "(.*?)"', text):
        (tmp_path / name).write_text("secret\n")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    config = read_config(tmp_path / "station.toml")
    names = [source.name for source in build_sources(config)]
    assert names == ["watch", "line-1", "mqtt"]
    assert config.mqtt is not None
    assert config.mqtt.broker().password == "secret"
    given = {key for section in tomllib.loads(text).values() for part in _listed(section) for key in part}
    known = {name for model in _models(config) for name in type(model).model_fields}
    assert known - given - {"state", "watch", "camera", "mqtt", "webhook", "csv", "timeout_seconds"} == set()


def _listed(section: object) -> list[dict]:
    return section if isinstance(section, list) else [section]


def _models(config) -> Iterator:
    yield from (*config.watch, *config.camera, *config.webhook, config.mqtt, config.csv)


# the images

KNOWN = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
         "ENTRYPOINT", "CMD"}  # fmt: skip


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Containerfile, continued lines joined, without comments."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in
            re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines())]  # fmt: skip


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.name)
def test_containerfile(path: Path) -> None:
    found = instructions(path)
    assert {word for word, _ in found} <= KNOWN
    assert found[0][0] == "FROM"
    last_stage = max(i for i, (word, _) in enumerate(found) if word == "FROM")
    last = found[last_stage:]
    assert all(re.search(r":[\w.-]+", rest) and not rest.endswith(":latest") for word, rest in found if word == "FROM")
    users = [rest for word, rest in last if word == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    for word, rest in found:
        if word == "COPY" and "--from" not in rest:
            *sources, _ = rest.split()
            assert all((ROOT / source).exists() for source in sources), rest
        if word in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(rest), list)
        if word == "RUN":
            shell = subprocess.run(["sh", "-n", "-c", rest], capture_output=True, text=True, check=False)
            assert shell.returncode == 0, shell.stderr
    check = next(rest for word, rest in last if word == "HEALTHCHECK")
    compile(json.loads(check.partition("CMD ")[2])[2], "healthcheck", "exec")
    (entry,) = (json.loads(rest) for word, rest in last if word == "ENTRYPOINT")
    (arguments,) = (json.loads(rest) for word, rest in last if word == "CMD")
    assert entry == ["edge-ad", "serve"]
    options = options_of(arguments)
    assert options["token_file"] is not None  # it listens on every address of the container
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for names in re.findall(r"\.whl\)\[([\w,-]+)\]", path.read_text()):
        assert set(names.split(",")) <= set(extras)


def test_the_wheel_stage_copies_every_part() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for path in CONTAINERFILES:
        copied = " ".join(rest for word, rest in instructions(path) if word == "COPY")
        assert all(re.search(rf"\b{folder}\b", copied) for folder in setuptools["package-dir"].values())
