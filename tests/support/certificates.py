"""A certificate for loopback that signs itself."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.server_process import require


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM; whoever trusts `certificate` trusts the server that uses both."""

    certificate: Path
    key: Path


def make_certificate(directory: Path, *names: str) -> Certificate:
    """A certificate for 127.0.0.1, localhost and further host names, good for a day."""
    made = Certificate(directory / "certificate.pem", directory / "key.pem")
    command = [
        require("openssl", "openssl"), "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=localhost",
        "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-addext", ",".join(["subjectAltName=IP:127.0.0.1", *(f"DNS:{name}" for name in ("localhost", *names))]),
        "-keyout", str(made.key), "-out", str(made.certificate),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return made
