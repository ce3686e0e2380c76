"""The sentences for a person whose key may do too much."""

from connectors import permissions


def test_a_refusal_names_the_key_what_it_may_do_and_the_way_out() -> None:
    """In one sentence each."""
    error = permissions.refusal("main", ("move", "trade"), "Make another.")
    assert "account main" in str(error)
    assert "api_key: the key can do more than read (move, trade). Make another." in str(error)


def test_an_address_that_does_not_tell_is_named_with_its_key() -> None:
    """Unknown is not safe."""
    error = permissions.unknown("main", "rest_url", "https://rest.test")
    assert "rest_url: https://rest.test does not tell what the key may do" in str(error)
    assert "allow_dangerous_key = true" in str(error)
