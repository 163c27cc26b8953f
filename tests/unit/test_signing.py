"""Signatures over exported files: which changes verification finds, and how it reports them."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import COMMIT, SIGNATURE
from boxcar.run.step import Step
from boxcar.signing import sign_folder, verify_around, verify_folder
from boxcar.storage import open_store
from boxcar.sync.transfer import send_folder

pytest.importorskip("model_signing", reason="model-signing is not installed")

FILES = {
    "tflite/detector_int8.tflite": b"\x00weights",
    "tfjs/float32/model.json": b"{}",
    "manifest.json": b"{}",
    "it's, one": b"1",
}


class Keys:
    """A pair of keys in files."""

    def __init__(self, folder: Path, name: str, key: Any = None, password: bytes | None = None) -> None:
        key = key or ec.generate_private_key(ec.SECP256R1())
        encryption: Any = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pub"
        pem = serialization.Encoding.PEM
        self.private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
        self.public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path, "ours")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished step with another one in it, like `export/`."""
    for place, step, files in (("export/saved_model", "freeze", {"saved_model.pb": b"graph"}), ("export", "convert", FILES)):
        made = tmp_path / place
        for name, content in files.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(content)
        Step(step, made, {}, {}, owns=None if step == "freeze" else tuple(name.split("/")[0] for name in files)).commit()
    return tmp_path / "export"


def no(uri: str | Path, key: Path, code: ExitCode = ExitCode.NO) -> BoxcarError:
    with pytest.raises(BoxcarError) as caught:
        verify_folder(str(uri), key)
    assert caught.value.code == code, caught.value
    return caught.value


def refused(uri: str | Path, key: Path, code: ExitCode) -> str:
    with pytest.raises(BoxcarError) as caught:
        sign_folder(str(uri), key)
    assert caught.value.code == code, caught.value
    return str(caught.value)


def test_a_signed_folder_can_be_moved_and_verified(folder: Path, keys: Keys, tmp_path: Path) -> None:
    assert sign_folder(str(folder), keys.private) == 7
    assert verify_folder(str(folder), keys.public) == 7
    moved = folder.rename(tmp_path / "elsewhere")
    assert verify_folder(str(moved), keys.public) == 7
    # Signed again: the new signature does not cover the old one.
    assert sign_folder(str(moved), keys.private) == 7
    assert verify_folder(str(moved), keys.public) == 7


@pytest.mark.parametrize("name", [*FILES, COMMIT, "saved_model/saved_model.pb", "saved_model/step.json"])
def test_a_changed_byte_in_any_file_is_found(folder: Path, keys: Keys, name: str) -> None:
    sign_folder(str(folder), keys.private)
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    assert no(folder, keys.public).what == f"{folder} does not match its signature: {name} was changed."


@pytest.mark.parametrize("name", ["new.tflite", ".hidden", ".gitignore", ".git/config", "tflite/a, b", "saved_model/model.sig"])
def test_an_added_file_is_found(folder: Path, keys: Keys, name: str) -> None:
    sign_folder(str(folder), keys.private)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    assert no(folder, keys.public).what == f"{folder} does not match its signature: {name} was added."


def test_a_removed_file_is_found_and_all_differences_are_listed(folder: Path, keys: Keys) -> None:
    sign_folder(str(folder), keys.private)
    (folder / "manifest.json").unlink()
    assert no(folder, keys.public).what == f"{folder} does not match its signature: manifest.json was removed."
    (folder / "manifests.json").write_bytes(b"{}")
    (folder / "it's, one").write_bytes(b"2")
    assert no(folder, keys.public).details == ("it's, one was changed", "manifest.json was removed", "manifests.json was added")


def test_a_link_that_replaces_a_file_is_found(folder: Path, keys: Keys, tmp_path: Path) -> None:
    sign_folder(str(folder), keys.private)
    (folder / "manifest.json").rename(tmp_path / "manifest.json")
    (folder / "manifest.json").symlink_to(tmp_path / "manifest.json")
    assert "it contains a link" in no(folder, keys.public).what
    assert "Replace each link" in refused(folder, keys.private, ExitCode.DATA)


def test_a_signature_of_another_key_is_refused(folder: Path, keys: Keys, tmp_path: Path) -> None:
    sign_folder(str(folder), keys.private)
    other = Keys(tmp_path, "other")
    assert no(folder, other.public).what == f"{folder} was signed with a key other than the one in {other.public}."


def test_a_missing_signature_is_refused(folder: Path, keys: Keys) -> None:
    assert no(folder, keys.public).what == f"{folder} is not signed: it contains no model.sig."


def test_a_changed_signature_is_refused(folder: Path, keys: Keys) -> None:
    sign_folder(str(folder), keys.private)
    whole = json.loads((folder / SIGNATURE).read_text())
    # A file and its hash in the signature were changed.
    payload = json.loads(base64.b64decode(whole["dsseEnvelope"]["payload"]))
    payload["predicate"]["resources"][0]["digest"] = "0" * 64
    forged = json.loads(json.dumps(whole))
    forged["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    (folder / SIGNATURE).write_text(json.dumps(forged))
    assert no(folder, keys.public).what == f"The signature of {folder} was changed after it was made."
    unsigned = json.loads(json.dumps(whole))
    unsigned["dsseEnvelope"]["signatures"] = []
    for content in (
        "",
        "{}",
        "[]",
        "null",
        "\x00",
        json.dumps(whole)[:-9],
        json.dumps(unsigned),
        json.dumps(whole | {"mediaType": "x"}),
    ):
        (folder / SIGNATURE).write_text(content)
        assert no(folder, keys.public).what == f"The signature of {folder} is not valid.", content


def test_files_that_contain_no_key_are_refused(folder: Path, keys: Keys, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    secret = Keys(tmp_path, "secret", password=b"secret").private
    edwards = Keys(tmp_path, "edwards", ed25519.Ed25519PrivateKey.generate())
    koblitz = Keys(tmp_path, "koblitz", ec.generate_private_key(ec.SECP256K1()))
    for key, words in (
        (tmp_path / "none", "No such file"),
        (empty, "it is not an elliptic-curve private key in PEM format"),
        (keys.public, "it is not an elliptic-curve private key in PEM format"),
        (edwards.private, "it is not an elliptic-curve private key in PEM format"),
        (koblitz.private, "Unsupported key for curve 'secp256k1'"),
        (secret, "encrypted keys are not supported"),
    ):
        sentence = refused(folder, key, ExitCode.USAGE)
        assert f"{key} does not contain a private key: {words}" in sentence
        assert "openssl ecparam" in sentence
    assert not (folder / SIGNATURE).exists()
    for key in (tmp_path / "none", empty, keys.private, edwards.public):
        assert f"{key} does not contain a public key: " in no(folder, key, ExitCode.USAGE).what


def test_only_finished_steps_are_signed(folder: Path, keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    assert "holds no finished step" in refused(tmp_path / "pictures", keys.private, ExitCode.USAGE)
    assert "There is nothing at" in refused(tmp_path / "nothing", keys.private, ExitCode.USAGE)
    assert "There is nothing at" in no(tmp_path / "nothing", keys.public, ExitCode.USAGE).what
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"other")
    assert "not those that its saved_model/step.json lists" in refused(folder, keys.private, ExitCode.DATA)
    (folder / "saved_model" / "step.json").write_text("[]")
    assert "not those that its saved_model/step.json lists" in refused(folder, keys.private, ExitCode.DATA)


def test_in_a_bucket(folder: Path, keys: Keys, bucket_uri: str) -> None:
    store = open_store(bucket_uri)
    assert "There is nothing at" in refused(bucket_uri, keys.private, ExitCode.USAGE)
    send_folder(folder, store)
    assert no(bucket_uri, keys.public).what == f"{bucket_uri} is not signed: it contains no model.sig."
    assert sign_folder(bucket_uri, keys.private) == 7
    assert verify_folder(bucket_uri, keys.public) == 7
    # Markers do not count: anybody who can write into the bucket can write a step.json, and not every file is listed.
    store.write("tflite/detector_int8.tflite", b"\x01weights")
    store.write(".hidden", b"1")
    store.delete(["tfjs/float32/model.json"])
    assert no(bucket_uri, keys.public).details == (
        ".hidden was added",
        "tfjs/float32/model.json was removed",
        "tflite/detector_int8.tflite was changed",
    )


@pytest.mark.parametrize("model", ["", "/tflite/detector_int8.tflite", "/tfjs/float32/model.json", "/tfjs/float32/"])
@pytest.mark.parametrize("in_bucket", [False, True], ids=["folder", "bucket"])
def test_a_model_is_verified_with_the_signed_folder_around_it(
    folder: Path, keys: Keys, model: str, in_bucket: bool, bucket_uri: str
) -> None:
    place = bucket_uri if in_bucket else str(folder)
    if in_bucket:
        send_folder(folder, open_store(bucket_uri))
    with pytest.raises(BoxcarError, match=r"is not signed: neither it nor a folder above it contains a model\.sig") as caught:
        verify_around(place + model, keys.public)
    assert caught.value.code == ExitCode.NO
    sign_folder(place, keys.private)
    assert verify_around(place + model, keys.public) == 7
    # Other files of the folder count too, such as labels.
    open_store(place).write("manifest.json", b"[]")
    with pytest.raises(BoxcarError, match=r"does not match its signature: manifest\.json was changed"):
        verify_around(place + model, keys.public)


def test_changed_files_are_not_served_or_converted(folder: Path, keys: Keys, tmp_path: Path) -> None:
    sign_folder(str(folder), keys.private)
    (folder / "tflite" / "detector_int8.tflite").write_bytes(b"\x01weights")
    output = tmp_path / "output"
    for command in (
        ("detect", str(folder / "tflite" / "detector_int8.tflite"), str(tmp_path), "--drawn", str(output)),
        ("convert", "--saved-model", str(folder / "saved_model"), "--records", str(tmp_path), "--output", str(output)),
        ("demo-page", "--run", str(tmp_path), "--port", "0"),
    ):
        done = boxcar(*command, "--verify-key", str(keys.public))
        assert done.returncode == ExitCode.NO, done.stderr
        assert f"{folder} does not match its signature: tflite/detector_int8.tflite was changed." in done.stderr
    assert not output.exists()


def test_openssfs_command_verifies_the_signature(folder: Path, keys: Keys) -> None:
    sign_folder(str(folder), keys.private)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    command += ["--signature", str(folder / SIGNATURE), "--public_key", str(keys.public)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "manifest.json").write_bytes(b"[]")
    assert subprocess.run(command, capture_output=True).returncode != 0


def boxcar(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "boxcar", *arguments], capture_output=True, text=True, env=os.environ)


def test_the_commands(folder: Path, keys: Keys) -> None:
    done = boxcar("sign", str(folder), "--key", str(keys.private))
    assert done.stdout == f"Signed 7 files in {folder}; the signature is in model.sig there.\n", done.stderr
    done = boxcar("verify", str(folder), "--key", str(keys.public))
    assert (done.returncode, done.stdout) == (0, f"Verified 7 files in {folder}: all match the signature.\n")
    (folder / "manifest.json").write_bytes(b"[]")
    (folder / "it's, one").unlink()
    done = boxcar("verify", str(folder), "--key", str(keys.public))
    assert done.returncode == 1
    assert done.stderr.splitlines()[:-1] == ["it's, one was removed", "manifest.json was changed"]
    assert "does not match its signature: it's, one was removed. Do not use these files." in done.stderr.splitlines()[-1]
