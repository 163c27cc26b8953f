"""Whether a folder is what was signed."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import SIGNATURE
from boxcar.signing.bundle import as_it_is, count_signed, hashing, import_signing
from boxcar.storage import bucket_location, local_path, open_store

_LEVELS = 5  # from the deepest file of an export up to a version of a registry


def verify_folder(uri: str, key: Path) -> int:
    """Compares every file in a folder with its signature.

    Args:
        uri: the folder (URI).
        key: file with the signer's public key.

    Returns:
        How many files were compared.

    Raises:
        BoxcarError: 1 where a file was changed, added or removed, where the signature is of another key or cannot be
            understood, and where there is none; 64 where nothing is there, or the key is none; 69 where model-signing is not
            installed or the bucket fails.
    """
    signing = import_signing()
    config = signing.verifying.Config().set_hashing_config(hashing(signing))
    try:
        config.use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not an elliptic-curve public key in PEM format"
        what = f"{key} does not contain a public key: {reason}."
        do = "Give the public half of the key that signed: `openssl ec -in boxcar.key -pubout` prints it."
        raise BoxcarError(ExitCode.USAGE, what, do) from error
    with as_it_is(uri) as folder:
        if not (folder / SIGNATURE).is_file():
            raise _no(f"{uri} is not signed: it contains no {SIGNATURE}.")
        _verify(signing, config, folder, uri, key)
        return count_signed(folder)


def verify_around(uri: str, key: Path) -> int:
    """Verifies the signed folder that holds a model: the model's own, or the nearest above it that is signed.

    Args:
        uri: an exported file or folder (URI).
        key: as for `verify_folder`, which this returns and raises as.
    """
    place = uri.rstrip("/") if bucket_location(uri) else str(local_path(uri).absolute())
    for _ in range(_LEVELS):
        if open_store(place).entry(SIGNATURE) is not None:
            return verify_folder(place, key)
        place = place.rpartition("/")[0]
        if place.endswith("/") or not place:
            break
    raise _no(f"{uri} is not signed: neither it nor a folder above it contains a {SIGNATURE}.")


def _verify(signing: Any, config: Any, folder: Path, uri: str, key: Path) -> None:
    from cryptography.exceptions import InvalidSignature

    if any(path.is_symlink() for path in folder.rglob("*")):
        raise _no(f"{uri} does not match its signature: it contains a link, and links are never signed.")
    try:
        config.verify(folder, folder / SIGNATURE)
    except InvalidSignature as error:
        raise _no(f"The signature of {uri} was changed after it was made.") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        # What the library raises has no types of its own.
        if "Key mismatch" in str(error):
            raise _no(f"{uri} was signed with a key other than the one in {key}.") from error
        if not str(error).startswith("Signature mismatch"):
            raise _no(f"The signature of {uri} cannot be understood.") from error
        found = tuple(_differences(signing, folder))
        raise _no(f"{uri} does not match its signature: {found[0]}.", found) from error


def _differences(signing: Any, folder: Path) -> Iterator[str]:
    """What differs between a folder and its signature, which is that of the key, a file each."""
    envelope = json.loads((folder / SIGNATURE).read_bytes())["dsseEnvelope"]
    resources = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["resources"]
    signed = {one["name"]: one["digest"] for one in resources}
    there = {one.identifier: one.digest.digest_hex for one in hashing(signing).hash(folder).resource_descriptors()}
    for name in sorted(signed.keys() | there.keys()):
        if signed.get(name) != there.get(name):
            yield f"{name} was {'added' if name not in signed else 'removed' if name not in there else 'changed'}"


def _no(what: str, details: tuple[str, ...] = ()) -> BoxcarError:
    do = "Do not use these files. Ask the person who signed them, or sign them yourself with `boxcar sign`."
    return BoxcarError(ExitCode.NO, what, do, details if len(details) > 1 else ())
