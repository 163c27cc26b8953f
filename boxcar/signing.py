"""Signatures over folders of exported files. May import `config` and the layers below it; no other step.

A signature covers all files in a folder except itself. It has the format of OpenSSF Model Signing 1.0, so that OpenSSF's own
command can verify it: `model_signing verify key FOLDER --signature FOLDER/model.sig --public_key FILE`.
"""

import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import COMMIT, SIGNATURE
from boxcar.run.step import read_commit
from boxcar.storage import Missing, bucket_location, list_files, local_path, open_store
from boxcar.storage.names import check_names
from boxcar.storage.parallel import for_each
from boxcar.storage.store_factory import enclosing_folders

_MAKE_KEY = (
    "`openssl ecparam -name prime256v1 -genkey -noout -out boxcar.key` makes one, and "
    "`openssl ec -in boxcar.key -pubout -out boxcar.pub` its public half."
)


def sign_folder(uri: str, key: Path) -> int:
    """Signs all files in a folder, and writes the signature into it. An older signature is replaced.

    Args:
        uri: a folder with finished steps in it, such as `<run>/export`.
        key: file with a private key: PEM, not encrypted, on the curve P-256, P-384, or P-521.

    Returns:
        The number of signed files.

    Raises:
        BoxcarError: 64 if the folder is empty, the key is not valid, or a file that is no signature has its name; 65 if a step
            in it is not finished, its files were changed, or it contains a link; 69 if model-signing is not installed, the
            bucket fails, or the folder cannot be written.
    """
    signing = _import_signing()
    config = signing.signing.Config().set_hashing_config(_hashing(signing))
    with _key_errors(key, "private", _MAKE_KEY):
        config.use_elliptic_key_signer(private_key=key)
    with _local_files(uri) as folder, tempfile.TemporaryDirectory(prefix="boxcar-") as temporary:
        _check_finished(folder, uri)
        _check_replaceable(folder / SIGNATURE)
        signature = Path(temporary, SIGNATURE)
        try:
            config.sign(folder, signature)
        except ValueError as error:
            what = f"{uri} cannot be signed: {' '.join(str(error).split()).rstrip('.')}."
            raise BoxcarError(ExitCode.DATA, what, "Replace each link with a copy.") from error
        open_store(uri).write(SIGNATURE, signature.read_bytes())
        return _count_signed(folder)


def verify_folder(uri: str, key: Path) -> int:
    """Compares every file in a folder with its signature.

    Args:
        uri: the folder.
        key: file with the signer's public key.

    Returns:
        The number of files that were compared.

    Raises:
        BoxcarError: 1 if a file was changed, added, or removed, or if the signature is missing, not valid, or of another key;
            64 if the folder is empty or the key is not valid; 69 if model-signing is not installed or the bucket fails.
    """
    signing = _import_signing()
    config = signing.verifying.Config().set_hashing_config(_hashing(signing))
    do = "Give the public half of the key that signed: `openssl ec -in boxcar.key -pubout` prints it."
    with _key_errors(key, "public", do):
        config.use_elliptic_key_verifier(public_key=key)
    with _local_files(uri) as folder:
        if not (folder / SIGNATURE).is_file():
            raise _no(f"{uri} is not signed: it contains no {SIGNATURE}.")
        _verify(signing, config, folder, uri, key)
        return _count_signed(folder)


def verify_around(uri: str, key: Path) -> int:
    """Verifies the signed folder that contains a model: the model's own folder, or the nearest signed folder above it.

    Args:
        uri: an exported file or folder.
        key: as for `verify_folder`, with the same results and errors.
    """
    for folder in enclosing_folders(uri):
        if folder.entry(SIGNATURE) is not None:
            return verify_folder(folder.uri, key)
    raise _no(f"{uri} is not signed: neither it nor a folder above it contains a {SIGNATURE}.")


def _import_signing() -> Any:
    try:
        import model_signing
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        what = f"The packages that sign and verify are not installed: {error}."
        raise BoxcarError(ExitCode.ENVIRONMENT, what, "Install them with `pip install 'boxcar[sign]'`.") from error
    return model_signing


def _hashing(signing: Any) -> Any:
    """SHA-256 of every file, including the hidden ones of git."""
    return signing.hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


@contextmanager
def _key_errors(key: Path, kind: str, do: str) -> Iterator[None]:
    """Refuses a key file (64) that the code inside cannot use, with advice."""
    try:
        yield
    except (OSError, ValueError, TypeError, AttributeError) as error:
        what = f"{key} does not contain a {kind} key: {_key_reason(error, kind)}."
        raise BoxcarError(ExitCode.USAGE, what, do) from error


def _key_reason(error: Exception, kind: str) -> str:
    """Why a key cannot be used. OpenSSL's own message about a file that contains no key is a list of codes."""
    if isinstance(error, OSError):
        return str(error.strerror)
    if "encrypted" in str(error):
        return "encrypted keys are not supported"
    if str(error).startswith("Unsupported key"):
        return str(error).rstrip(".")
    return f"it is not an elliptic-curve {kind} key in PEM format"


@contextmanager
def _local_files(uri: str) -> Iterator[Path]:
    """The folder itself; for a bucket, a new copy of all its files, including hidden ones and those that no step lists."""
    if bucket_location(uri) is None:
        folder = local_path(uri)
        if not folder.is_dir():
            raise Missing(uri)
        yield folder
        return
    store = open_store(uri)
    entries = store.entries()
    if not entries:
        raise Missing(uri)
    check_names([entry.name for entry in entries], uri)
    with tempfile.TemporaryDirectory(prefix="boxcar-") as temporary:
        for_each(lambda entry: store.download(entry, Path(temporary, entry.name)), entries)
        yield Path(temporary)


def _count_signed(folder: Path) -> int:
    return sum(path.is_file() and path != folder / SIGNATURE for path in folder.rglob("*"))


def _check_finished(folder: Path, uri: str) -> None:
    """Refuses files that no finished step lists, because a signature would vouch for them."""
    markers = [name for name in list_files(folder) if name.rpartition("/")[2] == COMMIT]
    if not markers:
        what = f"{uri} holds no finished step."
        raise BoxcarError(ExitCode.USAGE, what, "Give the folder that `boxcar convert` wrote: <run>/export.")
    for name in markers:
        try:
            step = str(json.loads((folder / name).read_text(encoding="utf-8"))["step"])
        except (ValueError, KeyError, TypeError):
            step = ""
        if read_commit((folder / name).parent, step) is None:
            what = f"The files in {uri} are not those that its {name} lists."
            raise BoxcarError(ExitCode.DATA, what, "Run the step that wrote them again, and sign its results.")


def _check_replaceable(path: Path) -> None:
    """Refuses a file that is no signature. It is a person's, perhaps the key itself, and would be written over."""
    if path.exists() and not _is_signature(path):
        what = f"{path} is not a signature, and would be replaced by one."
        raise BoxcarError(ExitCode.USAGE, what, "Move that file away.")


def _is_signature(path: Path) -> bool:
    try:
        return "dsseEnvelope" in json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def _verify(signing: Any, config: Any, folder: Path, uri: str, key: Path) -> None:
    from cryptography.exceptions import InvalidSignature

    if any(path.is_symlink() for path in folder.rglob("*")):
        raise _no(f"{uri} does not match its signature: it contains a link, and links are never signed.")
    try:
        config.verify(folder, folder / SIGNATURE)
    except InvalidSignature as error:
        raise _no(f"The signature of {uri} was changed after it was made.") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        # The library's errors differ only in their messages.
        if "Key mismatch" in str(error):
            raise _no(f"{uri} was signed with a key other than the one in {key}.") from error
        if not str(error).startswith("Signature mismatch"):
            raise _no(f"The signature of {uri} is not valid.") from error
        found = tuple(_differences(signing, folder))
        raise _no(f"{uri} does not match its signature: {found[0]}.", found) from error


def _differences(signing: Any, folder: Path) -> Iterator[str]:
    """The differences between a folder and its verified signature, one per file."""
    envelope = json.loads((folder / SIGNATURE).read_bytes())["dsseEnvelope"]
    resources = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["resources"]
    signed = {one["name"]: one["digest"] for one in resources}
    present = {one.identifier: one.digest.digest_hex for one in _hashing(signing).hash(folder).resource_descriptors()}
    for name in sorted(signed.keys() | present.keys()):
        if signed.get(name) != present.get(name):
            yield f"{name} was {'added' if name not in signed else 'removed' if name not in present else 'changed'}"


def _no(what: str, details: tuple[str, ...] = ()) -> BoxcarError:
    do = "Do not use these files. Ask the person who signed them, or sign them yourself with `boxcar sign`."
    return BoxcarError(ExitCode.NO, what, do, details if len(details) > 1 else ())
