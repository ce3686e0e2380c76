"""What every sink's configuration shares."""

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from alerts.sink import SinkConfig, check_url, refuse_password_in_url


@pytest.mark.parametrize("url", ["redis://host", "redis://user@host:1/0", "redis://[::1]:6379", "redis://host/a:b@c"])
def test_urls_without_a_password_pass(url: str) -> None:
    """A user, a port, an address in brackets are fine."""
    assert check_url(refuse_password_in_url(url, "password"), "redis") == url


@pytest.mark.parametrize("url", ["redis://user:secret@host", "redis://:secret@host:6379/0", "redis://a:b:c@host"])
def test_urls_with_a_password_are_refused(url: str) -> None:
    """The sentence names the option to use."""
    with pytest.raises(PydanticCustomError, match="password = "):
        refuse_password_in_url(url, "password")


@pytest.mark.parametrize("url", ["", "host:6379", "redis:host", "http://host", "redis://"])
def test_other_schemes_are_refused(url: str) -> None:
    """The sentence says which are allowed."""
    with pytest.raises(PydanticCustomError, match="redis:// or rediss://"):
        check_url(url, "redis", "rediss")


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1"])
def test_ports_that_are_none_are_refused(port: str) -> None:
    """Before anything is connected."""
    with pytest.raises(PydanticCustomError, match="between 1 and 65535"):
        check_url(f"redis://host:{port}/0", "redis")


def test_options_in_the_url_are_refused() -> None:
    """They could undo our deadlines."""
    with pytest.raises(PydanticCustomError, match="no options"):
        check_url("redis://host/0?socket_timeout=3600", "redis")


@pytest.mark.parametrize("field", ["timeout_s", "state_s", "state_ttl_s"])
def test_times_are_positive(field: str) -> None:
    """A deadline of nothing, of infinity or of nan is none."""
    for value in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValidationError, match=field):
            SinkConfig.model_validate({field: value})
