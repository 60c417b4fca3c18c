"""OTLP over HTTP against sockets that misbehave, and against a real receiver."""

import datetime
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from otel_agent.hub.export import encode
from otel_agent.hub.export.answer import Action
from otel_agent.hub.export.destination import Destination, destinations
from otel_agent.hub.export.http import Http
from support.otlp_receiver import OtlpReceiver

Script = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Stub:
    """A listening socket; each connection is given to the next script, the last one again and again."""

    def __init__(self, *scripts: Script, context: ssl.SSLContext | None = None) -> None:
        self._scripts = list(scripts)
        self._context = context
        self.bodies: list[bytes] = []
        self.connections = 0
        self._listen = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listen.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Stub":
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listen.shutdown(socket.SHUT_RDWR)
        self._listen.close()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed by then
        for thread in (self._thread, *self._threads):
            thread.join()

    def read(self, connection: socket.socket) -> bytes:
        """One whole request; b"" at the end of the connection."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        while len(body) < length:
            body += connection.recv(65536)
        self.bodies.append(body)
        return head

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listen.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            thread = threading.Thread(target=self._run, args=(script, connection))
            self._threads.append(thread)
            thread.start()

    def _run(self, script: Script, connection: socket.socket) -> None:
        with connection:
            try:
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                self._open.append(connection)
                script(connection)
            except OSError:
                pass  # the client went away, as most of these tests want
            connection.close()


_made: list[Http] = []


def transport_to(destination: Destination, clock: Callable[[], float] = time.monotonic) -> Http:
    """A transport that is closed after the test."""
    _made.append(Http(destination, clock=clock))
    return _made[-1]


def http(port: int, headers: Mapping[str, str] | None = None) -> Http:
    url = f"http://127.0.0.1:{port}/v1/traces"
    return transport_to(Destination("otlp", "traces", "http/protobuf", url, headers or {}))


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    yield
    while _made:
        _made.pop().close()


def span_body() -> bytes:
    from otel_agent import wire

    span = wire.Span(
        bytes(range(16)), bytes(range(8)), b"", False, "", 1, "GET", 2, 1, 2, {}, [], [], 0, "", ("", "", "", {})
    )
    data: bytes = encode.spans([({"service.name": "x"}, span)])[0].SerializeToString()
    return data


def test_delivered() -> None:
    """A request arrives with its headers, on one connection that is kept."""
    with OtlpReceiver() as receiver:
        transport = http(receiver.port, headers={"x-key": "1", "content-type": "text/evil"})
        answers = [transport.send(span_body(), 5).action for _ in range(3)]
        assert answers == [Action.DELIVERED] * 3
        assert [span.name for span in receiver.spans] == ["GET"] * 3
        headers = receiver.requests[0].headers
        assert headers["x-key"] == "1"
        assert headers["content-type"] == "application/x-protobuf"
        assert headers["user-agent"].startswith("otel-agent/")
        assert "content-encoding" not in headers


def test_refused() -> None:
    """A closed port is a retry that names the reason."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = http(port).send(b"x", 5)
    assert (found.action, found.problem) == (Action.RETRY, "Connection refused")


def test_unknown_host() -> None:
    """A name that does not resolve is a retry that names the reason."""
    destination = Destination("otlp", "traces", "http/protobuf", "http://nowhere.invalid/v1/traces")
    found = transport_to(destination).send(b"x", 5)
    assert found.action is Action.RETRY
    assert found.problem


def hang(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def drip_head(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


def drip_body(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def drip_body_then_close(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


@pytest.mark.fault("F51")
@pytest.mark.fault("F52")
@pytest.mark.parametrize("script", [hang, drip_head, drip_body, drip_body_then_close])
def test_deadline(script: Script) -> None:
    """Whatever a collector does slowly, the exchange ends at its deadline and is a retry."""
    with Stub(script) as stub:
        found = http(stub.port).send(b"x", 0.3)
        assert (found.action, found.problem) == (Action.RETRY, "no answer within 0.3 s")


@pytest.mark.fault("F51")
def test_deadline_in_tls_handshake() -> None:
    """A server that accepts and never shakes hands cannot hold the sender either."""
    with Stub(hang) as stub:
        destination = Destination("otlp", "traces", "http/protobuf", f"https://127.0.0.1:{stub.port}/", tls=True)
        assert transport_to(destination).send(b"x", 0.3).problem == "no answer within 0.3 s"


@pytest.mark.fault("F57")
def test_reset_after_the_request() -> None:
    """A new connection that is reset after the request is no reason to send again at once: that is for the back-off."""

    def reset(connection: socket.socket) -> None:
        stub.read(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    with Stub(reset) as stub:
        found = http(stub.port).send(b"x", 5)
        assert found.action is Action.RETRY
        assert stub.bodies == [b"x"]


@pytest.mark.fault("F61")
def test_dead_kept_connection() -> None:
    """A kept connection that turns out dead is replaced at once, with the same bytes."""

    def once(connection: socket.socket) -> None:
        stub.read(connection)
        connection.sendall(OK)

    with Stub(once) as stub:
        transport = http(stub.port)
        assert [transport.send(body, 5).action for body in (b"1", b"2", b"3")] == [Action.DELIVERED] * 3
        assert stub.bodies == [b"1", b"2", b"3"]


@pytest.mark.fault("F61")
def test_idle_connection() -> None:
    """A connection that was idle for more than 30 s is not used again."""
    now = [0.0]

    def serve(connection: socket.socket) -> None:
        while stub.read(connection):
            connection.sendall(OK)

    with Stub(serve) as stub:
        destination = Destination("otlp", "traces", "http/protobuf", f"http://127.0.0.1:{stub.port}/")
        transport = transport_to(destination, clock=lambda: now[0])
        for now[0] in (0.0, 29.0, 60.0):
            assert transport.send(b"x", 5).action is Action.DELIVERED
        assert stub.connections == 2


def test_closed_by_the_answer() -> None:
    """After `Connection: close` our end is closed too."""
    closed = threading.Event()

    def serve(connection: socket.socket) -> None:
        stub.read(connection)
        connection.sendall(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        if connection.recv(1) == b"":
            closed.set()

    with Stub(serve) as stub:
        transport = http(stub.port)
        assert transport.send(b"x", 5).action is Action.DELIVERED
        assert closed.wait(5)


def test_endless_answer() -> None:
    """Of an answer no more than 64 KiB are read; its connection is not used again."""

    def flood(connection: socket.socket) -> None:
        stub.read(connection)
        connection.sendall(b"HTTP/1.1 400 Bad\r\nContent-Type: text/plain\r\nContent-Length: 99999999\r\n\r\n")
        while True:
            connection.sendall(b"y" * 65536)

    with Stub(flood) as stub:
        transport = http(stub.port)
        found = transport.send(b"x", 5)
        assert (found.action, found.reason) == (Action.DROP, "http_400")
        assert len(found.problem) < 300
        transport.send(b"x", 5)
        assert stub.connections == 2


@pytest.mark.fault("F55")
def test_redirect_is_not_followed() -> None:
    """A redirect is a failure; neither request nor credentials go where it points."""
    with OtlpReceiver() as elsewhere, OtlpReceiver() as receiver:
        receiver.answers.append((302, {"Location": f"{elsewhere.endpoint}/v1/traces"}, b""))
        found = http(receiver.port, headers={"authorization": "secret"}).send(span_body(), 5)
        assert (found.action, found.say) == (Action.RETRY, True)
        assert elsewhere.requests == []


def test_garbage() -> None:
    """An answer that is not HTTP is a retry."""
    with Stub(lambda connection: connection.sendall(b"\x15\x03\x01\x00\x02\x02\x50 not http\r\n\r\n")) as stub:
        assert http(stub.port).send(b"x", 5).action is Action.RETRY


@pytest.mark.fault("F60")
@pytest.mark.parametrize(("no_proxy", "through_proxy"), [("", True), ("collector.test", False)])
def test_proxy(monkeypatch: pytest.MonkeyPatch, no_proxy: str, through_proxy: bool) -> None:
    """The standard proxy variables count, with credentials, which appear in no problem text."""
    heads: list[bytes] = []

    def proxy(connection: socket.socket) -> None:
        heads.append(stub.read(connection))
        connection.sendall(OK)

    with Stub(proxy) as stub:
        monkeypatch.setenv("http_proxy", f"http://user:s3cret@127.0.0.1:{stub.port}")
        monkeypatch.setenv("no_proxy", no_proxy)
        destination = Destination("otlp", "traces", "http/protobuf", "http://collector.test:4318/v1/traces")
        found = transport_to(destination).send(b"x", 5)
    assert "s3cret" not in found.problem
    assert bool(heads) is through_proxy
    if through_proxy:
        assert heads[0].startswith(b"POST http://collector.test:4318/v1/traces HTTP/1.1")
        assert b"Basic dXNlcjpzM2NyZXQ=" in heads[0]


@pytest.mark.fault("F60")
def test_proxy_of_an_unknown_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy we cannot use is a retry with a reason, never a direct connection."""
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with OtlpReceiver() as receiver:
        found = http(receiver.port).send(b"x", 5)
        assert found.action is Action.RETRY
        assert receiver.requests == []


class Authority:
    """A certificate authority that writes PEM files into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = self._builder(self._subject, self._key, 1).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
        self.pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.pem)

    def issue(self, name: str, host: str = "127.0.0.1", days: int = 1) -> tuple[str, str]:
        """Files of a certificate and its key, valid until `days` from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        alternative: x509.GeneralName
        try:
            alternative = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        builder = self._builder(subject, key, days).add_extension(
            x509.SubjectAlternativeName([alternative]), critical=False
        )
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        paths = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(paths[0]), str(paths[1])

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=3))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def server(certificate: str, key: str, clients: str = "") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


def over_tls(stub: Stub, **variables: str) -> Http:
    environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"https://127.0.0.1:{stub.port}/v1/traces"}
    environ |= {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    return transport_to(destinations(environ)[0])


def answer_ok(stub: list[Stub]) -> Script:
    def serve(connection: socket.socket) -> None:
        while stub[0].read(connection):
            connection.sendall(OK)

    return serve


def tls_stub(context: ssl.SSLContext) -> Stub:
    stubs: list[Stub] = []
    stubs.append(Stub(answer_ok(stubs), context=context))
    return stubs[0]


def test_tls(authority: Authority) -> None:
    """Over TLS a collector with a certificate of the given authority is delivered to."""
    with tls_stub(server(*authority.issue("server"))) as stub:
        transport = over_tls(stub, CERTIFICATE=str(authority.file))
        assert [transport.send(b"x", 5).action for _ in range(2)] == [Action.DELIVERED] * 2
        assert stub.connections == 1


@pytest.mark.fault("F58")
@pytest.mark.parametrize(
    ("host", "days", "trusted", "reason"),
    [
        ("127.0.0.1", -1, True, "expired"),
        ("10.9.8.7", 1, True, "match"),
        ("127.0.0.1", 1, False, "verify failed"),
    ],
)
def test_bad_certificate(authority: Authority, host: str, days: int, trusted: bool, reason: str) -> None:
    """An expired certificate, one for another host, one of an unknown authority: refused, with the reason."""
    with tls_stub(server(*authority.issue("server", host, days))) as stub:
        transport = over_tls(stub, **({"CERTIFICATE": str(authority.file)} if trusted else {}))
        found = transport.send(b"x", 5)
        assert found.action is Action.RETRY
        assert reason in found.problem
        assert stub.bodies == []


@pytest.mark.fault("F58")
def test_client_certificate(authority: Authority) -> None:
    """A collector that wants a client certificate gets the configured one; without it the request is a retry."""
    certificate, key = authority.issue("client")
    with tls_stub(server(*authority.issue("server"), clients=str(authority.file))) as stub:
        without = over_tls(stub, CERTIFICATE=str(authority.file))
        assert without.send(b"x", 5).action is Action.RETRY
        transport = over_tls(stub, CERTIFICATE=str(authority.file), CLIENT_CERTIFICATE=certificate, CLIENT_KEY=key)
        assert transport.send(b"x", 5).action is Action.DELIVERED


@pytest.mark.fault("F58")
def test_changed_certificate_file(authority: Authority, tmp_path: Path) -> None:
    """A changed file counts for the next request; one that is missing or no certificate is a retry, no fallback."""
    trusted = tmp_path / "trusted.pem"
    with tls_stub(server(*authority.issue("server"))) as stub:
        transport = over_tls(stub, CERTIFICATE=str(trusted))
        assert transport.send(b"x", 5).problem == "No such file or directory"
        trusted.write_bytes(b"no certificate")
        assert transport.send(b"x", 5).action is Action.RETRY
        trusted.write_bytes(authority.pem)
        assert transport.send(b"x", 5).action is Action.DELIVERED
        trusted.write_bytes(Authority(tmp_path, "other").pem)
        assert transport.send(b"x", 5).action is Action.RETRY
        assert len(stub.bodies) == 1
