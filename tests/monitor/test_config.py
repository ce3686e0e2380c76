"""The configuration file: what it may say, and what is said about one that says something else."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from alerts.config import AlertsConfig
from connectors import venues
from monitor.config import ACCOUNTS_KEY, Config, Sections, load, parse
from monitor.errors import ConfigurationError
from monitor.faults import known_keys, model_at

VENUES = ", ".join(sorted(venues()))
SECRET = "vmPUZE6mv9SD5VNHk4HlWFsOr6aPE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
ACCOUNT = """
[[account]]
name = "main"
venue = "binance"
api_key = "env:TEST_KEY"
api_secret = "env:TEST_SECRET"
"""
VENUES = ", ".join(sorted(venues()))
ANY_KEY = "account #1.zzz: unknown key; allowed here: " + ", ".join(
    sorted({key for each in venues().values() for key in known_keys(each.AccountConfig)})
)
PUSH_URL = "ntfys://ntfy.sh/a-topic"
URL_FAULT = (
    "sinks.push.route #{}.url: is no URL that apprise can use; https://appriseit.com/services/ shows what "
    "each service's looks like"
)
RULE_FAULT = (
    'found "margin"; must be, or fit with *, one of: margin_ratio, distance, unknown, model_error, stale_feed, '
    "sink_failure, venue_notice, rules_changed (did you mean margin_ratio?)"
)
EXAMPLE = Path(__file__).parents[2] / "deploy" / "marginwatch.example.toml"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets that the accounts of these tests refer to."""
    monkeypatch.setenv("TEST_KEY", "key")
    monkeypatch.setenv("TEST_SECRET", SECRET)
    monkeypatch.setenv("EMPTY", "  ")


def faults(path: Path, text: str) -> list[str]:
    """What is said about a file that holds `text`, without the file's name."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_everything_but_the_account_has_a_default() -> None:
    """One account is a whole configuration."""
    config = parse(ACCOUNT, "file")
    assert [account.name for account in config.accounts] == ["main"]
    assert config.alerts.margin_ratio.warning == 0.70
    assert config.http.listen == "127.0.0.1:9464"
    assert config.state.path == Path("marginwatch.sqlite")
    assert config.sinks.redis is None
    assert config.sinks.mqtt is None


def test_every_section_reaches_its_part() -> None:
    """What the file says is what the parts are given."""
    config = parse(
        ACCOUNT
        + """
        [alerts.margin_ratio]
        critical = 0.8
        [alerts.stale_feed]
        mark_s = 7
        [sinks.redis]
        url = "redis://10.0.0.1:6379/3"
        [sinks.mqtt]
        url = "mqtts://user@broker:8883"
        password = "env:TEST_SECRET"
        [http]
        listen = "[::1]:0"
        [state]
        path = "/var/lib/marginwatch/state.sqlite"
        [metrics]
        max_pools = 10
        [log]
        level = "debug"
        format = "json"
        """,
        "file",
    )
    assert (config.alerts.margin_ratio.critical, config.alerts.margin_ratio.notice) == (0.8, None)
    assert config.alerts.stale_feed.mark_s == 7
    assert config.sinks.redis is not None
    assert config.sinks.redis.url.endswith("/3")
    assert config.sinks.mqtt is not None
    assert config.sinks.mqtt.password is not None
    assert config.sinks.mqtt.password.reveal() == SECRET
    assert config.http.address == ("::1", 0)
    assert config.metrics.max_pools == 10
    assert config.log.format == "json"


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    """A secret in a file loses its newline and nothing else."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    text = ACCOUNT.replace("env:TEST_SECRET", f"file:{tmp_path / 'secret'}")
    assert parse(text, "file").accounts[0].api_secret.reveal() == SECRET


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    """Editors on Windows put one at the front."""
    path = tmp_path / "marginwatch.toml"
    path.write_text(ACCOUNT, encoding="utf-8-sig")
    assert load(path).accounts


def test_a_configuration_never_shows_its_secrets() -> None:
    """Neither the whole nor an account prints a key."""
    config = parse(ACCOUNT, "file")
    assert SECRET not in repr(config)
    assert SECRET not in str(config.accounts)


# One file a fault: what stands in it, and the whole of what is said about it.
FAULTS = {
    "no account": ("", ["account: missing; name at least one account in a table [[account]]"]),
    "one table instead of a list": (
        ACCOUNT.replace("[[account]]", "[account]"),
        ["account: must be a list of tables; write [[account]], not [account]"],
    ),
    "an account that is no table": ("account = [1]", ["account #1: must be a table"]),
    "no venue": (
        ACCOUNT.replace('venue = "binance"', ""),
        [f'account "main".venue: missing; must be one of: {VENUES}'],
    ),
    "unknown venue": (
        ACCOUNT.replace('"binance"', '"binanse"'),
        [f'account "main".venue: found "binanse"; must be one of: {VENUES} (did you mean binance?)'],
    ),
    "venue of the wrong kind": (
        ACCOUNT.replace('"binance"', "1"),
        [f'account "main".venue: found 1; must be one of: {VENUES}'],
    ),
    "no name": (ACCOUNT.replace('name = "main"', ""), ["account #1.name: missing; it has no default"]),
    "one name twice": (
        ACCOUNT + ACCOUNT,
        ['account #2.name: found "main"; already the name of account #1; must be unique'],
    ),
    "misspelt account key": (
        ACCOUNT.replace("api_key", "api_kye"),
        ['account "main".api_kye: unknown key; did you mean api_key?'],
    ),
    "misspelt section": (ACCOUNT + "[alrts]\n", ["alrts: unknown key; did you mean alerts?"]),
    "accounts for account": (
        ACCOUNT.replace("[[account]]", "[[accounts]]"),
        [
            "account: missing; name at least one account in a table [[account]]",
            "accounts: unknown key; did you mean account?",
        ],
    ),
    "misspelt rule": (
        ACCOUNT + "[alerts.margin_rato]\n",
        ["alerts.margin_rato: unknown key; did you mean margin_ratio?"],
    ),
    "misspelt rung": (
        ACCOUNT + "[alerts.margin_ratio]\nwarning = 0.5\nemergancy = 0.9\n",
        ["alerts.margin_ratio.emergancy: unknown key; did you mean emergency?"],
    ),
    "misspelt sink key": (
        ACCOUNT + '[sinks.redis]\nURL = "redis://h"\n',
        ["sinks.redis.URL: unknown key; did you mean url?"],
    ),
    "a key from nowhere": (
        ACCOUNT + "[state]\nzzz = 1\n",
        ["state.zzz: unknown key; allowed here: path"],
    ),
    "a number that is text": (
        ACCOUNT + '[alerts.stale_feed]\nmark_s = "soon"\n',
        ['alerts.stale_feed.mark_s: found "soon"; must be a number'],
    ),
    "a number out of range": (
        ACCOUNT + "[alerts.margin_ratio]\nnotice = 1.5\n",
        ["alerts.margin_ratio.notice: found 1.5; must be at most 1"],
    ),
    "not a number": (
        ACCOUNT + "[alerts.margin_ratio]\nnotice = nan\n",
        ["alerts.margin_ratio.notice: found nan; must be a finite number"],
    ),
    "an endless number": (
        ACCOUNT + "reconcile_s = inf\n",
        ['account "main".reconcile_s: found inf; must be a finite number'],
    ),
    "rungs out of order": (
        ACCOUNT + "[alerts.margin_ratio]\nnotice = 0.8\nwarning = 0.7\n",
        ["alerts.margin_ratio.warning: found 0.7; must be above notice = 0.8"],
    ),
    "a whole ladder out of order": (
        ACCOUNT + "[alerts.margin_ratio]\nnotice = 0.8\nwarning = 0.7\ncritical = 0.6\n",
        [
            "alerts.margin_ratio.warning: found 0.7; must be above notice = 0.8",
            "alerts.margin_ratio.critical: found 0.6; must be above notice = 0.8",
        ],
    ),
    "a ladder out of order beside an unknown key": (
        ACCOUNT + "[alerts.margin_ratio]\nnotice = 0.5\nwarnig = 0.7\ncritical = 0.4\n",
        [
            "alerts.margin_ratio.warnig: unknown key; did you mean warning?",
            "alerts.margin_ratio.critical: found 0.4; must be above notice = 0.5",
        ],
    ),
    "routes with a bad URL, of one name, and one that takes nothing": (
        ACCOUNT
        + '[sinks.push]\npush_s = 60\n[[sinks.push.route]]\nname = "a"\nurl = "env:TEST_SECRET"\nrules = ["margin"]\n'
        + '[[sinks.push.route]]\nname = "a"\nurl = "env:TEST_SECRET"\nat_least = "warning"\nseverities = ["notice"]\n',
        [
            "sinks.push.push_s: found 60; must not be longer than timeout_s = 30",
            URL_FAULT.format(1),
            "sinks.push.route #1.rules #1: " + RULE_FAULT,
            URL_FAULT.format(2),
            'sinks.push.route #2.at_least: found "warning"; the route takes nothing: no severity is both listed and '
            "at_least that high",
            'sinks.push.route #2.name: found "a"; already the name of sinks.push.route #1; must be unique',
        ],
    ),
    "a wrong venue, and more in the same account": (
        ACCOUNT.replace('"binance"', '"binanse"')
        .replace("api_secret =", "api_secrt =")
        .replace("env:TEST_KEY", SECRET),
        [
            f'account "main".venue: found "binanse"; must be one of: {VENUES} (did you mean binance?)',
            'account "main".api_secrt: unknown key; did you mean api_secret?',
            'account "main".api_key: a secret is not written into this file; write env:NAME to take it from the '
            "environment or file:PATH to read it from a file",
        ],
    ),
    "a venue from nowhere, and more in the same account": (
        ACCOUNT.replace('"binance"', '"zzz"').replace('"main"', '"my main"').replace("env:TEST_KEY", "env:NOT_SET")
        + "zzz = 1\n",
        [
            f'account #1.venue: found "zzz"; must be one of: {VENUES}',
            ANY_KEY,
            'account #1.name: found "my main"; must be 1 to 64 letters, digits, "_", "." or "-"',
            "account #1.api_key: environment variable NOT_SET is not set",
        ],
    ),
    "a pair without Redis, and more": (
        ACCOUNT + "[pair]\nenabled = true\n[state]\npaht = 1\n",
        [
            "state.paht: unknown key; did you mean path?",
            "pair.enabled: needs [sinks.redis]: through it two monitors agree who speaks",
        ],
    ),
    "a push URL that is none": (
        ACCOUNT + '[[sinks.push.route]]\nname = "phone"\nurl = "env:TEST_SECRET"\n',
        [
            'sinks.push.route "phone".url: is no URL that apprise can use; https://appriseit.com/services/ shows what '
            "each service's looks like"
        ],
    ),
    "distance rungs out of order": (
        ACCOUNT + "[alerts.distance]\nnotice = 0.02\nwarning = 0.05\n",
        ["alerts.distance.warning: found 0.05; must be below notice = 0.02"],
    ),
    "a word out of a choice": (
        ACCOUNT + '[log]\nlevel = "loud"\n',
        ['log.level: found "loud"; must be "debug", "info", "warning" or "error"'],
    ),
    "a wrong address": (
        ACCOUNT + '[http]\nlisten = "9464"\n',
        ['http.listen: found "9464"; must be "address:port", for example "127.0.0.1:9464" or "[::1]:9464"'],
    ),
    "a table that is a value": (f'http = "all"\n{ACCOUNT}', ['http: found "all"; must be a table']),
    "keys in the clear": (
        ACCOUNT + 'rest_url = "http://fapi.example"\n',
        [
            'account "main".rest_url: found "http://fapi.example"; '
            "http:// sends keys and balances in the clear; only https:// is accepted here"
        ],
    ),
    "a pasted secret": (
        ACCOUNT.replace("env:TEST_SECRET", SECRET),
        [
            'account "main".api_secret: a secret is not written into this file; write env:NAME to take it from the '
            "environment or file:PATH to read it from a file"
        ],
    ),
    "a secret that is a number": (
        ACCOUNT.replace('"env:TEST_SECRET"', "12345678"),
        ['account "main".api_secret: write env:NAME or file:PATH'],
    ),
    "an unset variable": (
        ACCOUNT.replace("env:TEST_KEY", "env:NOT_SET_ANYWHERE"),
        ['account "main".api_key: environment variable NOT_SET_ANYWHERE is not set'],
    ),
    "an empty variable": (
        ACCOUNT.replace("env:TEST_KEY", "env:EMPTY"),
        ['account "main".api_key: the secret from env:EMPTY is empty'],
    ),
    "a missing secret file": (
        ACCOUNT.replace("env:TEST_KEY", "file:/nonexistent/key"),
        ['account "main".api_key: cannot read /nonexistent/key: No such file or directory'],
    ),
    "a password in a URL": (
        ACCOUNT + f'[sinks.redis]\nurl = "redis://user:{SECRET}@host"\n',
        [
            'sinks.redis.url: found "redis://***@host"; a password does not belong into the url; '
            'write password = "env:NAME" or password = "file:PATH"'
        ],
    ),
    "a dead-man's switch that is no URL": (
        ACCOUNT + '[heartbeat]\nurl = "env:TEST_SECRET"\n',
        ['heartbeat.url: found "env:TEST_SECRET"; the URL there must begin with http:// or https:// and name a host'],
    ),
    "a consent that is text": (
        ACCOUNT + 'allow_dangerous_key = "yes"\n',
        ['account "main".allow_dangerous_key: must be true or false'],
    ),
    "a broken line": ('[[account]]\nname = "main"\nvenue =\n', ["line 3, column 8: not TOML: Invalid value"]),
    "a table twice": (
        ACCOUNT + "[http]\n[http]\n",
        ["line 8, column 6: not TOML: Cannot declare ('http',) twice"],
    ),
    "an open text": ('[[account]]\nname = "main', ["line 2, column 13: not TOML: Unterminated string"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(tmp_path: Path, name: str) -> None:
    """The message names the file, the key, what was found and what is allowed, and never a secret."""
    text, expected = FAULTS[name]
    found = faults(tmp_path / "marginwatch.toml", text)
    assert found == expected
    assert SECRET not in "\n".join(found)


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    """Nobody has to run the command once for each mistake."""
    text = (
        ACCOUNT.replace('name = "main"', 'nmae = "main"')
        + ACCOUNT.replace("env:TEST_KEY", "TEST_KEY")
        + "[alerts.margin_ratio]\nnotice = 7\n[http]\nlisten = 80\n[state]\npaht = 1\n"
    )
    assert sorted(line.partition(":")[0] for line in faults(tmp_path / "marginwatch.toml", text)) == [
        'account "main".api_key',
        "account #1.nmae",
        "alerts.margin_ratio.notice",
        "http.listen",
        "state.paht",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: None,
            "there is no such file; write one (README.md, Configure; deploy/marginwatch.example.toml has every key), "
            "or name another: --config FILE",
        ),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"a = 1\nb = '\xff'"), "line 2: not UTF-8 text"),
        (lambda path: path.write_bytes(b"#" * 1_000_001), "larger than 1,000,000 bytes; is it the right file?"),
    ],
    ids=["missing", "directory", "binary", "huge"],
)
def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path, make: object, message: str) -> None:
    """Whatever stands at the path, the error is the file's name and a reason."""
    path = tmp_path / "marginwatch.toml"
    make(path)  # type: ignore[operator]
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {message}"


def test_the_example_is_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example as it is, with the secrets it refers to, can be used."""
    monkeypatch.setenv("BINANCE_KEY", "key")
    monkeypatch.setenv("BINANCE_SECRET", SECRET)
    assert isinstance(load(EXAMPLE), Config)


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key that a model accepts, tables left out."""
    for key in known_keys(model):
        table = model_at(model, [key])
        if table is None:
            yield f"{prefix}{key}"
        else:
            yield from dotted_keys(table, f"{prefix}{key}.")


def written_keys(document: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key of a document, tables left out."""
    for key, value in document.items():
        table = value[0] if isinstance(value, list) and value else value
        if isinstance(table, dict):
            yield from written_keys(table, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_the_example_explains_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """With each key behind a # switched on the example holds every key there is, and is still a configuration."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for name in re.findall(r'"env:([A-Z_]{3,})"', text.replace("env:NAME", "")):
        monkeypatch.setenv(name, {"PUSH_PHONE": PUSH_URL, "HEARTBEAT_URL": "https://hc.example/x"}.get(name, SECRET))
    text = re.sub(r"(?m)^#(?=\[|[a-z_]+ = )", "", text)
    assert parse(text, "example").sinks.mqtt is not None
    document = tomllib.loads(text)
    (account,) = document.pop(ACCOUNTS_KEY)
    assert set(written_keys(document)) == set(dotted_keys(Sections))
    assert set(account) == set(known_keys(venues()["binance"].AccountConfig))


def test_the_example_shows_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that the example shows behind a # is what holds without it; what has no default is an illustration."""
    monkeypatch.setenv("BINANCE_KEY", "key")
    monkeypatch.setenv("BINANCE_SECRET", SECRET)
    monkeypatch.setenv("PUSH_PHONE", PUSH_URL)
    text = EXAMPLE.read_text(encoding="utf-8")
    illustration = re.compile(r'#((client_id|password|token|\w+_file|quiet_hours|timezone) = |url = "env:HEARTBEAT)')
    kept = [line for line in text.splitlines() if not illustration.match(line)]
    shown = parse(re.sub(r"(?m)^#(?=\[|[a-z_]+ = )", "", "\n".join(kept)), "example")
    route = '[[sinks.push.route]]\nname = "phone"\nurl = "env:PUSH_PHONE"\n'
    plain = parse(f"{text}[sinks.redis]\n[sinks.mqtt]\n[sinks.homeassistant]\n[sinks.alertmanager]\n{route}", "example")
    assert shown == plain
    assert plain.alerts == AlertsConfig()
