"""The container files, as far as they can be checked without a container runtime.

What they name exists, every image is pinned, every container is locked in, and the programs that they configure accept
their configuration: Redis and mosquitto are started with the very commands of compose.yaml, paths and ports moved.
"""

import getpass
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config import load
from tests.support.server_process import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PASSWORD = "correct-horse"
TEMPORARY = "/tmp/"  # noqa: S108 - of the containers, where it is a tmpfs of their own

each_service = pytest.mark.parametrize("name", SERVICES)


def test_the_whole_house_is_there() -> None:
    """The daemon and everything it talks to."""
    assert set(SERVICES) == {"marginwatch", "redis", "mosquitto", "prometheus", "grafana", "alertmanager"}


@each_service
def test_a_container_is_locked_in(name: str) -> None:
    """Read-only root, no capabilities, no new privileges, bounded memory and processes, restarted for ever."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["restart"] == "unless-stopped"
    assert service["mem_limit"]
    assert service["pids_limit"]


@each_service
def test_an_image_is_pinned_and_its_user_is_not_root(name: str) -> None:
    """An exact version, and a user that is not root: from the Dockerfile for our own image."""
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", service["image"])
    user = re.search(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    uid = service["user"].partition(":")[0] if "user" in service else user and user[1]
    assert int(uid) > 0


@each_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    """Nothing is reachable from other machines, and what publishes a port is on a network that can."""
    ports = SERVICES[name].get("ports", [])
    assert all(port.startswith("127.0.0.1:") for port in ports)
    if ports:
        assert any(not (COMPOSE["networks"][network] or {}).get("internal") for network in SERVICES[name]["networks"])


@each_service
def test_a_container_says_whether_it_is_well(name: str) -> None:
    """By compose.yaml, or by its own Dockerfile."""
    assert "healthcheck" in SERVICES[name] or (name == "marginwatch" and "HEALTHCHECK" in DOCKERFILE)


@each_service
def test_what_is_named_exists(name: str) -> None:
    """Mounted files, volumes, networks and secrets."""
    service = SERVICES[name]
    for mount in service.get("volumes", []):
        source, _, rest = mount.partition(":")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert rest.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])


def test_brokers_are_reached_by_nobody_else() -> None:
    """Redis and mosquitto are on an internal network only."""
    for name in ("redis", "mosquitto"):
        assert all(COMPOSE["networks"][network]["internal"] for network in SERVICES[name]["networks"])


def test_the_daemon_waits_for_no_sink() -> None:
    """A dead broker must not delay the watching."""
    assert "depends_on" not in SERVICES["marginwatch"]


def test_secrets_are_files_that_are_never_committed() -> None:
    """Each secret is a file in a directory whose content git ignores, made by the script; none is in a variable."""
    script = (DEPLOY / "compose" / "make-secrets").read_text()
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"] == f"./compose/secrets/{name}"
        assert re.search(rf"^(ask|invent) {name}\b", script, re.MULTILINE)
    assert (DEPLOY / "compose" / "secrets" / ".gitignore").read_text() == "*\n!.gitignore\n"
    for service in SERVICES.values():
        for variable in service.get("environment", {}):
            assert "PASSWORD" not in variable or variable.endswith("__FILE")


def test_make_secrets(tmp_path: Path) -> None:
    """Asked once, invented once, kept afterwards, and closed to others on the host."""
    script = tmp_path / "compose" / "make-secrets"
    (script.parent / "secrets").mkdir(parents=True)
    shutil.copy(DEPLOY / "compose" / "make-secrets", script)
    first = subprocess.run([script], input=b"the key\nthe secret\n", capture_output=True, timeout=10, check=True)
    secrets = script.parent / "secrets"
    made = {path.name: path.read_text() for path in secrets.iterdir()}
    assert set(made) == set(COMPOSE["secrets"])
    assert (made["binance_key"], made["binance_secret"]) == ("the key\n", "the secret\n")
    assert re.fullmatch("[0-9a-f]{48}", made["redis_password"])
    assert made["redis_password"] != made["mqtt_password"]
    assert "the secret" not in (first.stdout + first.stderr).decode()
    assert secrets.stat().st_mode & 0o777 == 0o700
    subprocess.run([script], input=b"", capture_output=True, timeout=10, check=True)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == made


@pytest.fixture
def make_secrets(tmp_path: Path) -> Path:
    """The script beside a directory for secrets of its own."""
    script = tmp_path / "compose" / "make-secrets"
    (script.parent / "secrets").mkdir(parents=True)
    shutil.copy(DEPLOY / "compose" / "make-secrets", script)
    return script


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (b"\n\n", "the Binance API key (read-only) is empty, and nothing was kept; run this again"),
        (b"   \n", "the Binance API key (read-only) is empty"),
        (b"", "standard input ended before the Binance API key (read-only) was given; run this in a terminal"),
        (b"the key\n", "standard input ended before the Binance API secret was given"),
    ],
    ids=["empty", "blank", "closed", "half"],
)
def test_make_secrets_refuses_what_is_no_answer(make_secrets: Path, given: bytes, problem: str) -> None:
    """With a sentence, and asks again the next time: nothing empty is kept."""
    refused = subprocess.run([make_secrets], input=given, capture_output=True, timeout=10, check=False)
    assert refused.returncode == 1
    assert f"make-secrets: {problem}" in refused.stderr.decode()
    again = subprocess.run([make_secrets], input=b"the key\nthe secret\n", capture_output=True, timeout=10, check=False)
    assert again.returncode == 0
    assert (make_secrets.parent / "secrets" / "binance_secret").read_text() in ("the secret\n", "the key\n")


def test_make_secrets_asks_again_for_what_is_empty(make_secrets: Path) -> None:
    """A file of one line without anything in it, which may not be written, is no key."""
    empty = make_secrets.parent / "secrets" / "binance_key"
    empty.write_text("\n")
    empty.chmod(0o444)
    subprocess.run([make_secrets], input=b"the key\nthe secret\n", capture_output=True, timeout=10, check=True)
    assert empty.read_text() == "the key\n"


def test_make_secrets_leaves_the_terminal_as_it_was(make_secrets: Path) -> None:
    """Ctrl-C at the question, which is asked without an echo."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([make_secrets], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    try:
        deadline = time.monotonic() + 10
        while termios.tcgetattr(theirs)[3] & termios.ECHO:
            assert time.monotonic() < deadline, "it does not ask"
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(10) == 130
        assert termios.tcgetattr(theirs)[3] & termios.ECHO
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_the_container_s_configuration(tmp_path: Path) -> None:
    """It is one that marginwatch takes, and names the services and secrets of compose.yaml."""
    text = (DEPLOY / "compose" / "marginwatch.toml").read_text()
    for secret in re.findall(r"file:/run/secrets/(\w+)", text):
        assert secret in SERVICES["marginwatch"]["secrets"]
        (tmp_path / secret).write_text(PASSWORD)
    file = tmp_path / "marginwatch.toml"
    file.write_text(text.replace("file:/run/secrets", f"file:{tmp_path}"))
    config = load(file)
    assert config.sinks.redis is not None
    assert config.sinks.redis.url == "redis://redis:6379/0"
    assert config.sinks.mqtt is not None
    assert "mosquitto:1883" in config.sinks.mqtt.url
    assert config.http.address == ("0.0.0.0", 9464)
    assert str(config.state.path) == "/var/lib/marginwatch/marginwatch.sqlite"
    assert f"marginwatch-state:{config.state.path.parent}" in SERVICES["marginwatch"]["volumes"]


def test_the_image_is_built_from_what_is_there() -> None:
    """Every file that the Dockerfile copies exists, and the ignore file lets exactly these through."""
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        copied |= set(line.split())
    missing = {name for name in copied if not (ROOT / name).exists()}
    assert not missing
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignore
    assert {line[1:] for line in ignore if line.startswith("!")} == copied


def test_the_image_health_check_is_a_program() -> None:
    """It compiles, and asks the port that the image exposes."""
    check = re.search(r'"-c", "(.+)"\]', DOCKERFILE)
    assert check is not None
    compile(check[1], "HEALTHCHECK", "exec")
    port = re.search(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)
    assert port is not None
    assert f"127.0.0.1', {port[1]}" in check[1]


@pytest.mark.integration
def test_redis_starts_as_composed(tmp_path: Path) -> None:
    """With the password from its file, and writes through before it acknowledges."""
    require("redis-server", "redis-cli")
    port = free_port()
    config = (DEPLOY / "redis.conf").read_text().replace("dir /data", f"dir {tmp_path}")
    config = config.replace("bind * -::*", f"bind 127.0.0.1\nport {port}")

    def ask(*words: str, password: str) -> str:
        environment = {"PATH": "/usr/bin:/bin", "REDISCLI_AUTH": password}
        command = ["redis-cli", "-p", str(port), *words]
        return subprocess.run(command, env=environment, capture_output=True, timeout=10, check=False).stdout.decode()

    with running("redis", config, tmp_path, port):
        assert ask("PING", password=PASSWORD).strip() == "PONG"
        assert "NOAUTH" in ask("PING", password="")
        assert ask("CONFIG", "GET", "appendfsync", password=PASSWORD).split() == ["appendfsync", "always"]


@pytest.mark.integration
def test_mosquitto_starts_as_composed(tmp_path: Path) -> None:
    """With the password from its file; nobody enters without; its health check passes."""
    require("mosquitto", "mosquitto_passwd", "mosquitto_pub", "mosquitto_sub")
    port = free_port()
    config = (DEPLOY / "mosquitto.conf").read_text().replace("listener 1883", f"listener {port} 127.0.0.1")
    config = config.replace("/mosquitto/data/", f"{tmp_path}/").replace(TEMPORARY, f"{tmp_path}/")
    config += (
        f"user {getpass.getuser()}\n"  # mosquitto leaves root's rights behind unless told; the test's files are ours
    )

    def publish(*login: str) -> int:
        command = f"mosquitto_pub -h 127.0.0.1 -p {port} -V 5 -q 1 -t t -m m".split()
        return subprocess.run([*command, *login], capture_output=True, timeout=10, check=False).returncode

    with running("mosquitto", config, tmp_path, port):
        assert publish("-u", "marginwatch", "-P", PASSWORD) == 0
        assert publish() != 0
        assert publish("-u", "marginwatch", "-P", "wrong") != 0
        _, check = SERVICES["mosquitto"]["healthcheck"]["test"]
        check = check.replace("$$", "$").replace("XDG_CONFIG_HOME=/tmp", f"XDG_CONFIG_HOME={tmp_path}")
        check = check.replace("mosquitto_sub ", f"mosquitto_sub -p {port} ")
        assert subprocess.run(["/bin/sh", "-c", check], timeout=10, check=False).returncode == 0


def require(*programs: str) -> None:
    """Skip, saying why, where a program is not installed."""
    for program in programs:
        if shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/usr/local/bin") is None:
            pytest.skip(f"{program} is not installed (see tests/support/install-servers)")


@contextmanager
def running(name: str, config: str, directory: Path, port: int) -> Iterator[None]:
    """The service's own command in a shell, its paths moved to `directory`, from listening to a clean end."""
    service = SERVICES[name]
    (configured,) = (mount.split(":")[1] for mount in service["volumes"] if mount.startswith("./"))
    (directory / "mounted.conf").write_text(config)
    (secret,) = service["secrets"]
    (directory / secret).write_text(PASSWORD)
    (script,) = service["command"]
    script = script.replace("$$", "$").replace(TEMPORARY, f"{directory}/")
    script = script.replace(configured, f"{directory}/mounted.conf").replace("/run/secrets/", f"{directory}/")
    environment = {"PATH": "/usr/sbin:/usr/local/bin:/usr/bin:/bin"}
    process = subprocess.Popen(
        [*service["entrypoint"], script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        ends = time.monotonic() + 15
        while not accepts(port):
            assert process.poll() is None, process.stdout and process.stdout.read().decode()
            assert time.monotonic() < ends, f"{name} does not listen"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()  # reaches the server itself: the shell has given it its place
        process.communicate(timeout=15)


def accepts(port: int) -> bool:
    """Whether somebody listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
