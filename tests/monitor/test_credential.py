"""Secrets: where they come from, and that nothing prints them."""

import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from pydantic import BaseModel, ValidationError

from monitor.credential import Secret, conceal

VALUE = "hunter2-hunter2"


class Holder(BaseModel):
    """A model with a secret in it."""

    key: Secret


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """White space around it, such as an editor's last line end, does not belong to it."""
    monkeypatch.setenv("THE_KEY", VALUE)
    path = tmp_path / "key"
    path.write_text(f"{VALUE}\n")
    assert Secret.read("env:THE_KEY").reveal() == VALUE
    assert Holder(key=f"file:{path}").key.reveal() == VALUE  # type: ignore[arg-type]


def test_nothing_prints_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither itself nor a model around it, in any form."""
    monkeypatch.setenv("THE_KEY", VALUE)
    holder = Holder(key="env:THE_KEY")  # type: ignore[arg-type]
    for text in (str(holder.key), repr(holder.key), f"{holder.key}", repr(holder), str(holder), repr(vars(holder))):
        assert VALUE not in text


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (VALUE, "is not written into this file"),
        ("env:", "is not written into this file"),
        ("env:NO_SUCH_NAME_HERE", "NO_SUCH_NAME_HERE is not set"),
        ("file:/no/such/file", "cannot read /no/such/file"),
        ("env:EMPTY", "is empty"),
    ],
)
def test_a_reference_that_cannot_be_followed(reference: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence that says what to do, and never what was found: it may be the secret itself, pasted by mistake."""
    monkeypatch.setenv("EMPTY", " ")
    with pytest.raises(ValidationError) as caught:
        Holder(key=reference)  # type: ignore[arg-type]
    (error,) = caught.value.errors(include_input=False)
    assert says in error["msg"]
    assert VALUE not in error["msg"]


@pytest.mark.parametrize("user", ["", "a", "ab", "abc"])
def test_a_secret_is_blanked_in_every_form_that_a_client_writes(user: str) -> None:
    """As it is, in an address, in Python's and JSON's quotes, and inside a login of any user."""
    value = 'open/sesame?\n"50 % & more"'
    Secret(value)
    login = f"{user}:{value}".encode()
    for text in (
        value,
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        repr(value.encode())[2:-1],
    ):
        assert conceal(f"before {text} after") == "before *** after"
    for encoded in (b64encode(login).decode(), urlsafe_b64encode(login).decode()):
        assert len(conceal(f"Basic {encoded}").replace("***", "")) <= len("Basic ") + 10
    assert conceal("nothing of it here") == "nothing of it here"


@pytest.mark.parametrize(
    ("url", "text", "concealed"),
    [
        (
            "tgram://123456789:abc-DEF_ghi/4242424242",
            "POST https://api.telegram.org/bot123456789:abc-DEF_ghi/sendMessage to 4242424242",
            "POST https://api.telegram.org/bot***/sendMessage to ***",
        ),
        (
            "json://127.0.0.1:8000/hook/TOPSECRETTOKEN",
            "url=http://127.0.0.1:8000/hook/TOPSECRETTOKEN: refused",
            "url=http://127.0.0.1:8000/hook/***: refused",
        ),
        ("https://hc-ping.com/d1e2-secret", "/d1e2-secret of hc-ping.com", "/*** of hc-ping.com"),
        ("ntfys://ann:sesame-open@ntfy.sh/topic?priority=emergency", "sesame-open emergency", "*** emergency"),
        ("json://host/?auth=1234567890abcdef", "auth=1234567890abcdef", "auth=***"),
    ],
)
def test_so_is_each_part_of_an_address_that_is_secret_as_a_whole(url: str, text: str, concealed: str) -> None:
    """Whoever is asked gets them in other places; a machine's name and an option are no secrets."""
    Secret(url)
    assert conceal(text) == concealed


def test_a_short_secret_is_blanked_as_a_word_alone() -> None:
    """Else a password of four digits would show where it is missing; one that is shorter protects nothing."""
    Secret("1234")
    Secret("xy")
    assert conceal("AUTH 1234: 51234.5 xy") == "AUTH ***: 51234.5 xy"
