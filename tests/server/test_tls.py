"""Workers and producers over TLS, on a server that wants to see a client certificate."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from chaos.servers import Server, free_port
from reliq import Reliq
from reliq.config import Config
from reliq.errors import Unreachable
from tests.support.fleet import Fleet

SERVER = shutil.which("redis-server")
pytestmark = pytest.mark.skipif(
    (SERVER is None or shutil.which("openssl") is None) and "CI" not in os.environ,
    reason="Debian's redis-server, which is built with TLS, or openssl is not installed",
)


@attrs.frozen
class Certificates:
    """Files of a certificate authority, and of what it has signed."""

    folder: Path

    def make(self) -> None:
        """The authority, the server `127.0.0.1`, a client, and an authority that nobody knows."""
        for name in ("ca", "stranger"):
            self._openssl("req", "-x509", *self._key(name), "-subj", f"/CN={name}", "-days", "2", "-out", f"{name}.crt")
        (self.folder / "san").write_text("subjectAltName=IP:127.0.0.1\n", encoding="utf-8")
        for name in ("server", "client"):
            self._openssl("req", *self._key(name), "-subj", f"/CN={name}", "-out", f"{name}.csr")
            signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san"]
            self._openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.crt")

    def _key(self, name: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]

    def _openssl(self, *words: str) -> None:
        done = subprocess.run(["openssl", *words], cwd=self.folder, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode()

    def path(self, name: str) -> str:
        return str(self.folder / name)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once: it takes a second."""
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.make()
    return made


@pytest.fixture
def address(certificates: Certificates) -> Iterator[str]:
    """Where a server listens with TLS, and lets in who has a certificate of its authority."""
    port = free_port()
    settings = {
        "tls-port": str(port),
        "tls-ca-cert-file": certificates.path("ca.crt"),
        "tls-cert-file": certificates.path("server.crt"),
        "tls-key-file": certificates.path("server.key"),
        "tls-auth-clients": "yes",
    }
    with Server(settings=settings, program=SERVER) as server:
        yield f"127.0.0.1:{port}"
        with server.client() as client:
            client.flushall()


def url(address: str, certificates: Certificates, *, ca: str = "ca.crt", client: str | None = "client") -> str:
    """The form that docs/security.md gives."""
    text = f"rediss://{address}/0?ssl_ca_certs={certificates.path(ca)}"
    if client is not None:
        text += f"&ssl_certfile={certificates.path(client + '.crt')}&ssl_keyfile={certificates.path(client + '.key')}"
    return text


def test_the_whole_life_of_jobs(address: str, certificates: Certificates) -> None:
    """An idle worker hears of a job at once, many are drained, a killed process's come back, and it leaves in order."""
    with Fleet(url(address, certificates)) as fleet:
        pod = fleet.start(processes=2)
        for _ in range(20):
            began = time.monotonic()
            jid = fleet.enqueue("quick")
            fleet.done([jid])
            assert time.monotonic() - began < 1.0, "the doorbell rings through TLS too"
        fleet.done([fleet.enqueue("quick", number) for number in range(500)], within=30)
        held = fleet.enqueue("gated", "end")
        fleet.started(held)
        pod.kill_worker(fleet.ledger.started(held)[0].pid)
        fleet.started(held, times=2, within=20)
        fleet.open("end")
        fleet.done([held])
        assert fleet.command("status", "--url", fleet.url).code == 0
        assert pod.stop_and_wait() == 0
        assert "Redis" not in pod.log.replace("at rediss://", "")


def impatient(address: str) -> Reliq:
    """An application that gives up soon."""
    return Reliq(address, config=Config(url=address, resend_for=0.5))


# With TLS 1.3 the server looks at the client's certificate after the handshake. If it has closed before the client's
# first write, the client hears of the end, and not of the reason.
CLOSED = "EOF occurred|Broken pipe|reset by peer|[Cc]onnection closed"

REASONS = {
    "no certificate": ({"client": None}, f"certificate required|{CLOSED}"),
    "another authority": ({"ca": "stranger.crt"}, "certificate verify failed"),
    "a client of another authority": ({"client": "stranger"}, f"unknown ca|{CLOSED}"),
}


@pytest.mark.parametrize("case", REASONS)
def test_who_is_not_let_in_is_told_why(case: str, address: str, certificates: Certificates) -> None:
    options, reason = REASONS[case]
    app = impatient(url(address, certificates, **options))  # type: ignore[arg-type]
    with pytest.raises(Unreachable, match=reason) as caught:
        app.enqueue("quick")
    app.close()
    assert "\n" not in str(caught.value)


def test_plain_text_at_a_tls_port_is_not_understood(address: str) -> None:
    app = impatient(f"redis://{address}/0")
    with pytest.raises(Unreachable, match="no answer from Redis"):
        app.enqueue("quick")
    app.close()


def test_a_file_that_is_not_there_is_named(address: str, certificates: Certificates) -> None:
    with Fleet(url(address, certificates)) as fleet:
        broken = url(address, certificates).replace("client.crt", "missing.crt")
        answer = fleet.command("status", "--url", broken)
    assert answer.code in (2, 69)
    assert answer.error.count("\n") == 1, answer.error
    assert "Traceback" not in answer.error
