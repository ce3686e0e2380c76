"""People's orders as JSON, the same over HTTP and over MQTT."""

from typing import TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from alerts.sink import Handling
from monitor.errors import RefusedError
from monitor.faults import faults_of, known_keys
from monitor.legible import legible

BODY_BYTES_MAX = 4_096


class AcknowledgeOrder(BaseModel):
    """``acknowledge``: `by` has seen the alert `key`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    by: str


class SilenceOrder(BaseModel):
    """``silence``: do not disturb people about `subject` for `for_s` seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    subject: str
    for_s: float
    reason: str
    by: str
    emergency: bool = False


class EndSilenceOrder(BaseModel):
    """``unsilence``: end the silence `id`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    by: str


Order = TypeVar("Order", bound=BaseModel)


def read_order(body: bytes, model: type[Order]) -> Order:
    """The order in `body`, checked. Raises RefusedError with a sentence that names every key at fault."""
    if len(body) > BODY_BYTES_MAX:
        raise RefusedError("body", f"must have at most {BODY_BYTES_MAX} bytes")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RefusedError("body", "must be JSON") from None
    if not isinstance(found, dict):
        raise RefusedError("body", f"must be a JSON object with {', '.join(known_keys(model))}")
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first, *others = faults_of(error, model)
        raise RefusedError(first.key, legible("; ".join([first.problem, *map(str, others)]))) from None


def carry_out(handling: Handling, action: str, body: bytes) -> str:
    """Do what an order says; returns what was done. Raises RefusedError."""
    match action:
        case "acknowledge":
            seen = read_order(body, AcknowledgeOrder)
            handling.acknowledge(seen.key, seen.by)
            return f"acknowledged {seen.key}"
        case "silence":
            quiet = read_order(body, SilenceOrder)
            made = handling.silence(quiet.subject, quiet.for_s, quiet.by, quiet.reason, emergency=quiet.emergency)
            return f"silenced {made.subject} (id {made.id})"
        case "unsilence":
            over = read_order(body, EndSilenceOrder)
            handling.end_silence(over.id, over.by)
            return f"ended {over.id}"
    raise RefusedError("action", f"found {action}; must be acknowledge, silence or unsilence")
