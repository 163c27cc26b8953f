"""A wrong setting in the environment gives a message with its name and without any secret."""

import datetime
import http.client
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from minio import Minio
from storage_servers import PASSWORD, REGION, USER, MinioServer, Server, free_port, serving

from boxcar.errors import BoxcarError
from boxcar.storage import ABSENT, Changed, open_store
from boxcar.storage.checksums import PART_BYTES

SECRET = "AbCdEfGh-very-secret"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("AWS_", "MINIO_", "BOXCAR_S3", "GOOGLE_", "STORAGE_EMULATOR", "SSL_CERT")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("boxcar.retry.FIRST_CONTACT_SECONDS", 0.5)
    # Where no metadata are: a port on which nobody listens.
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def bucket(minio: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in minio.environment(minio.address).items():
        monkeypatch.setenv(name, value)
    return minio.make_bucket()


def said(uri: str) -> BoxcarError:
    with pytest.raises(BoxcarError) as error:
        open_store(uri).entries()
    assert error.value.code == 69
    for text in (error.value.what, error.value.do):
        assert SECRET not in text and PASSWORD not in text
        assert text.endswith(".") and "\n" not in text
    return error.value


class TestMinio:
    @pytest.mark.parametrize("setting", ["BOXCAR_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
    def test_a_server_that_is_not_there(self, bucket: str, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("BOXCAR_S3_ENDPOINT")
        monkeypatch.setenv(setting, f"http://127.0.0.1:{free_port()}")
        error = said(f"s3://{bucket}/run")
        assert "cannot be reached: Connection refused" in error.what
        assert setting in error.do

    def test_a_server_of_no_name(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BOXCAR_S3_ENDPOINT", "http://no-such-host.invalid:9000")
        error = said(f"s3://{bucket}/run")
        assert "cannot be reached" in error.what and "BOXCAR_S3_ENDPOINT" in error.do

    @pytest.mark.parametrize(
        "value",
        ["localhost:9000", "ftp://host", f"http://user:{SECRET}@host", "http://host/path", "http://", "http://host:port"],
    )
    def test_an_address_that_is_none(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BOXCAR_S3_ENDPOINT", value)
        assert "BOXCAR_S3_ENDPOINT is not" in said("s3://bucket/run").what

    def test_tls_to_a_server_without(self, bucket: str, minio: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BOXCAR_S3_ENDPOINT", minio.address.replace("http", "https"))
        assert "BOXCAR_S3_ENDPOINT" in said(f"s3://{bucket}/run").do

    def test_a_server_that_is_not_s3(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if "html" in self.path else 404)
                self.end_headers()
                self.wfile.write(b"<html>A console</html>")

            def log_message(self, *_: Any) -> None:
                pass

        listener = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        monkeypatch.setenv("BOXCAR_S3_ENDPOINT", f"http://127.0.0.1:{listener.server_address[1]}")
        assert "BOXCAR_S3_ENDPOINT" in said(f"s3://{bucket}/run").do
        listener.shutdown()
        listener.server_close()

    def test_a_bucket_that_is_not_there(self, bucket: str, minio: Server) -> None:
        error = said("s3://no-such-bucket/run")
        assert error.what == f"There is no bucket no-such-bucket at {minio.address}."
        assert "s3://no-such-bucket/run" in error.do and "BOXCAR_S3_ENDPOINT" in error.do
        with pytest.raises(BoxcarError, match="no bucket no-such-bucket"):
            open_store("s3://no-such-bucket/run").write("a", b"1")
        with pytest.raises(BoxcarError, match="no bucket no-such-bucket"):
            open_store("s3://no-such-bucket/run").read("a")

    @pytest.mark.parametrize("kind", ["AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY", "MINIO_ACCESS_KEY MINIO_SECRET_KEY"])
    def test_a_wrong_key_or_secret(self, bucket: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        key, secret = kind.split()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv(key, "nobody")
        assert said(f"s3://{bucket}/run").do == f"Set {secret} as well."
        monkeypatch.setenv(secret, SECRET)
        error = said(f"s3://{bucket}/run")
        assert "does not know the key" in error.what and key in error.do
        monkeypatch.setenv(key, USER)
        assert secret in said(f"s3://{bucket}/run").do
        monkeypatch.setenv(secret, PASSWORD)
        assert open_store(f"s3://{bucket}/run").entries() == []

    def test_a_mounted_file(self, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        path = tmp_path / "credentials"
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
        assert "AWS_SHARED_CREDENTIALS_FILE" in said(f"s3://{bucket}/run").do
        path.write_text(f"[default]\naws_access_key_id = {USER}\naws_secret_access_key = {SECRET}\n")
        assert "AWS_SHARED_CREDENTIALS_FILE" in said(f"s3://{bucket}/run").do
        path.write_text(f"[default]\naws_access_key_id = {USER}\naws_secret_access_key = {PASSWORD}\n")
        assert open_store(f"s3://{bucket}/run").entries() == []
        monkeypatch.setenv("AWS_PROFILE", "other")
        assert "AWS_PROFILE" in said(f"s3://{bucket}/run").do

    def test_a_wrong_clock(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
        monkeypatch.setattr("minio.api.time.utcnow", lambda: now)
        error = said(f"s3://{bucket}/run")
        assert "clock" in error.what and "clock" in error.do

    def test_a_wrong_region(self, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_REGION", "mars-north-1")
        assert "AWS_REGION" in said(f"s3://{bucket}/run").do

    def test_a_key_that_may_only_read(self, bucket: str, minio: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        from minio import MinioAdmin
        from minio.credentials import StaticProvider

        admin = MinioAdmin(endpoint=f"127.0.0.1:{minio.port}", credentials=StaticProvider(USER, PASSWORD), secure=False)
        admin.user_add("reader", SECRET)
        admin.policy_set("readonly", user="reader")
        open_store(f"s3://{bucket}/run").write("a", b"1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        store = open_store(f"s3://{bucket}/run")
        assert store.read("a") == b"1"
        for attempt in (lambda: store.write("b", b"2"), lambda: store.delete(["a"])):
            with pytest.raises(BoxcarError) as error:
                attempt()
            assert error.value.code == 69
            assert "AWS_ACCESS_KEY_ID" in str(error.value) and f"s3://{bucket}/run" in str(error.value)
        assert store.read("a") == b"1"

    def test_tls_with_an_authority_of_ones_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server = SecureMinio(tmp_path / "data", tmp_path / "certificates")
        certificate = write_certificate(tmp_path / "certificates")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with serving(server):
            for name, value in server.environment(server.address).items():
                monkeypatch.setenv(name, value)
            server.client().make_bucket("bucket")
            store = open_store("s3://bucket/run")
            tag = store.write("a", b"1", expected=ABSENT)
            assert store.read("a", tag=tag) == b"1"
            with pytest.raises(Changed):
                store.write("a", b"2", expected=ABSENT)
            (tmp_path / "large").write_bytes(b"x" * (PART_BYTES + 1))
            store.upload(tmp_path / "large", "large")
            store.download(store.entries()[1], tmp_path / "copy")
            assert (tmp_path / "copy").read_bytes() == (tmp_path / "large").read_bytes()
            monkeypatch.delenv("SSL_CERT_FILE")
            assert "SSL_CERT_FILE" in said("s3://bucket/run").do
            with pytest.raises(BoxcarError, match="certificate"):
                open_store("s3://bucket/run").read("a")


class SecureMinio(MinioServer):
    """MinIO with TLS and a certificate that no public authority has signed."""

    def __init__(self, folder: Path, certificates: Path) -> None:
        super().__init__(folder)
        self.certificates = certificates

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [*super().command(), "--certs-dir", str(self.certificates)]

    def client(self) -> Minio:
        return Minio(f"127.0.0.1:{self.port}", USER, PASSWORD, region=REGION)  # by SSL_CERT_FILE

    def ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.certificates / "public.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=2, context=context)
        connection.request("GET", self.health)
        return connection.getresponse().status == 200


def write_certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 and its key, under the names that MinIO looks for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "private.key").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    (folder / "public.crt").write_bytes(certificate.public_bytes(pem))
    return folder / "public.crt"


class TestNoKey:
    def test_no_key_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # The address of a machine's metadata is not asked in a test.
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{free_port()}/")
        error = said("s3://bucket/run")
        assert "no key for S3" in error.what and "AWS_ACCESS_KEY_ID" in error.do

    def test_a_web_identity_is_exchanged_at_the_servers_sts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[dict[str, list[str]]] = []

        class Sts(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(parse_qs(urlsplit(self.path).query))
                later = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
                known = asked[-1]["WebIdentityToken"] == ["token"]
                self.send_response(200 if known else 403)
                self.end_headers()
                space = "https://sts.amazonaws.com/doc/2011-06-15/"
                self.wfile.write(
                    f"<AssumeRoleWithWebIdentityResponse xmlns='{space}'><AssumeRoleWithWebIdentityResult><Credentials>"
                    f"<AccessKeyId>ID</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>S</SessionToken>"
                    f"<Expiration>{later}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
                    "</AssumeRoleWithWebIdentityResponse>".encode()
                )

            def log_message(self, *_: Any) -> None:
                pass

        listener = ThreadingHTTPServer(("127.0.0.1", 0), Sts)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        monkeypatch.setenv("BOXCAR_S3_ENDPOINT", f"http://127.0.0.1:{listener.server_address[1]}")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/trainer")
        assert "AWS_WEB_IDENTITY_TOKEN_FILE" in said("s3://bucket/run").do  # no such file
        (tmp_path / "token").write_text("stale")
        assert "AWS_ROLE_ARN" in said("s3://bucket/run").do
        (tmp_path / "token").write_text("token")
        open_store("s3://bucket/run")
        assert asked[-1]["RoleArn"] == ["arn:aws:iam::1:role/trainer"]
        listener.shutdown()
        listener.server_close()

    def test_an_authority_that_is_no_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such/file.pem")
        assert "AWS_CA_BUNDLE" in said("s3://bucket/run").do


class TestGcs:
    @pytest.mark.parametrize("content", [None, "{", json.dumps({"type": "service_account", "private_key": SECRET})])
    def test_a_wrong_file_of_credentials(self, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "key.json"
        if content is not None:
            path.write_text(content)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        assert "GOOGLE_APPLICATION_CREDENTIALS" in said("gs://bucket/run").do

    def test_a_server_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
        error = said("gs://bucket/run")
        assert "cannot be reached" in error.what and "STORAGE_EMULATOR_HOST" in error.do

    def test_a_bucket_that_is_not_there(self, gcs: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.address)
        error = said("gs://no-such-bucket/run")
        assert "no bucket no-such-bucket" in error.what and "gs://no-such-bucket/run" in error.do


def test_no_client_is_loaded_before_a_bucket_is_used() -> None:
    code = (
        "import sys, boxcar.storage, boxcar.cli.main; boxcar.storage.open_store('/tmp').entries;"
        "print([name for name in sys.modules if name.split('.')[0] in ('minio', 'google', 'tenacity', 'urllib3', 'requests')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
