"""Object stores for tests: emulators of the two that are supported, over HTTP on loopback, and one in memory."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import os
import pathlib
import socket
import socketserver
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipelines.storage import object_stores, remote

BUCKET = "bucket"
KEYS = ("--s3_access_key_id=key", "--s3_secret_access_key=secret")


@contextlib.contextmanager
def s3() -> Iterator[list[str]]:
    """Beam's flags for an emulated S3 (moto) that has BUCKET."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "_settings", None)
        try:
            host, port = server.get_host_and_port()
            flags = [f"--s3_endpoint_url=http://{host}:{port}", *KEYS]
            remote.use(flags)
            remote._store_of(f"s3://{BUCKET}")._client.create_bucket(Bucket=BUCKET)  # type: ignore[union-attr]
            yield flags
        finally:
            server.stop()


@contextlib.contextmanager
def gcs() -> Iterator[list[str]]:
    """No flags: an emulated Cloud Storage (gcp-storage-emulator) that has BUCKET is named by the environment."""
    from gcp_storage_emulator.server import create_server

    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http.server.HTTPServer, "request_queue_size", 64)  # more come at once than 5
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{port}")
        patch.setattr(remote, "_kept", {})
        patch.setattr(remote, "_settings", None)
        server = create_server("localhost", port, in_memory=True, default_bucket=BUCKET)
        server.start()
        try:
            remote.use([])
            yield []
        finally:
            server.stop()


@contextlib.contextmanager
def seen_by_tensorflow(folder: pathlib.Path) -> Iterator[dict[str, str]]:
    """The environment of a process whose TensorFlow finds the emulated Cloud Storage behind gs://.

    It asks Google's own hosts over TLS. So a proxy answers in their name, with a certificate that is made here.
    """
    authority = folder / "authority.pem"
    context = _certified(authority, ("www.googleapis.com", "storage.googleapis.com"))
    emulator = urllib.parse.urlsplit(os.environ["STORAGE_EMULATOR_HOST"])

    class Relay(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():  # CONNECT and its headers
                pass
            self.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with (
                context.wrap_socket(self.connection, server_side=True) as client,
                socket.create_connection((emulator.hostname, emulator.port)) as server,
            ):
                asked = b""
                while b"\r\n\r\n" not in asked:  # TensorFlow only reads: there is no body
                    asked += client.recv(1 << 16)
                server.sendall(asked)
                while answer := server.recv(1 << 16):
                    client.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield {
                "https_proxy": f"http://127.0.0.1:{proxy.server_address[1]}",
                "CURL_CA_BUNDLE": str(authority),
                "NO_GCE_CHECK": "true",
            }
        finally:
            proxy.shutdown()


def _certified(path: pathlib.Path, hosts: Sequence[str]) -> ssl.SSLContext:
    """A server's context for these hosts; who trusts the certificate at `path` trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    secret = path.with_suffix(".key")
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, secret)
    return context


def put_folder(folder: pathlib.Path, place: str) -> None:
    """Copies the files of a local folder to a place, below their names relative to it."""
    for path in folder.rglob("*"):
        if path.is_file():
            with remote.writing(f"{place}/{path.relative_to(folder).as_posix()}") as file:
                file.write(path.read_bytes())


class Memory:
    """A store that is a dictionary, in this process only. `changing` is told of each change of one object before it."""

    remedy = ""

    def __init__(self, changing: Callable[[], None] = lambda: None):
        self.objects: dict[str, bytes] = {}
        self.listings: list[str] = []
        self._changing, self._lock = changing, threading.Lock()

    def read(self, path: str, limit: int) -> bytes:
        return self.objects[path][:limit]

    def fetch(self, path: str, file: IO[bytes]) -> None:
        file.write(self.objects[path])

    def put(self, path: str, file: IO[bytes], size: int) -> None:
        self._set(path, file.read())

    def names(self, path: str, flat: bool) -> Iterator[str]:
        self.listings.append(path)
        key = object_stores.parts(path)[1]
        start = path.removesuffix(key)
        found = sorted(name[len(start) :] for name in self.objects if name.startswith(path))
        cut = [name[: name.index("/", len(key)) + 1] if flat and "/" in name[len(key) :] else name for name in found]
        return iter(dict.fromkeys(cut))

    def exists(self, path: str) -> bool:
        return path in self.objects

    def copy(self, source: str, target: str) -> None:
        self._set(target, self.objects[source])

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            with self._lock:
                self._changing()
                del self.objects[path]

    def kind(self, error: BaseException) -> str:
        return object_stores.MISSING if isinstance(error, KeyError) else object_stores.OTHER

    def _set(self, path: str, content: bytes) -> None:
        with self._lock:
            self._changing()
            self.objects[path] = content


@contextlib.contextmanager
def in_memory(changing: Callable[[], None] = lambda: None) -> Iterator[Memory]:
    """Has gs:// be a Memory while the body runs."""
    memory = Memory(changing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(object_stores.STORES, "gs", lambda options: memory)
        patch.setattr(remote, "_kept", {})
        yield memory
