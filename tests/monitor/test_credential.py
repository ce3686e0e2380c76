"""Secrets: where they come from, and that nothing prints them."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from monitor.credential import Secret

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
