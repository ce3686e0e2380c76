"""What a failure of Redis says about those who ask."""

from pathlib import Path

import pytest
from redis.exceptions import BusyLoadingError, RedisError

from alerts.redis_link import RedisConfig, RedisLink, connector, serves_nobody
from monitor.errors import SinkError
from tests.support.redis_server import RedisServer
from tests.support.server_process import free_port


async def failure(url: str, *command: str) -> SinkError:
    """What comes of a command that fails."""
    link = RedisLink(connector(RedisConfig(url=url)))
    with pytest.raises(SinkError) as raised:
        await link.ask([command])
    await link.close()
    return raised.value


async def test_where_no_server_is_nobody_is_served() -> None:
    """Nothing listens there."""
    assert serves_nobody(await failure(f"redis://127.0.0.1:{free_port()}/0", "PING"))


@pytest.mark.integration
async def test_one_that_refuses_a_command_may_serve_others(tmp_path: Path) -> None:
    """It is there."""
    with RedisServer(tmp_path) as server:
        assert not serves_nobody(await failure(server.url, "NONSENSE"))


@pytest.mark.parametrize(
    ("cause", "expected"), [(BusyLoadingError("loading"), True), (RedisError("OOM"), False), (TimeoutError(), False)]
)
def test_a_server_that_still_reads_what_it_had_serves_nobody(cause: Exception, expected: bool) -> None:
    """Any other trouble may be that of one who asks."""
    error = SinkError("redis: no")
    error.__cause__ = cause
    assert serves_nobody(error) is expected
