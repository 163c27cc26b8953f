"""Signing a folder of exported files with a key of one's own."""

import json
import tempfile
from pathlib import Path

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import COMMIT, SIGNATURE
from boxcar.run.step import read_commit
from boxcar.signing.bundle import as_it_is, count_signed, hashing, import_signing
from boxcar.storage import list_files, open_store

_MAKE_KEY = (
    "`openssl ecparam -name prime256v1 -genkey -noout -out boxcar.key` makes one, and "
    "`openssl ec -in boxcar.key -pubout -out boxcar.pub` its public half."
)


def sign_folder(uri: str, key: Path) -> int:
    """Signs all files in a folder, and writes the signature next to them, replacing an older one.

    Args:
        uri: the folder (URI), with finished steps in it: `<run>/export`.
        key: file with a private key: PEM, not encrypted, on the curve P-256, P-384 or P-521.

    Returns:
        How many files were signed.

    Raises:
        BoxcarError: 64 where nothing is there, or the key is none; 65 where a step in it is not finished or its files were
            changed, or it holds a link; 69 where model-signing is not installed, the bucket fails or the folder cannot be
            written.
    """
    signing = import_signing()
    config = signing.signing.Config().set_hashing_config(hashing(signing))
    try:
        config.use_elliptic_key_signer(private_key=key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else _reason(error)
        raise BoxcarError(ExitCode.USAGE, f"{key} does not contain a private key: {reason}.", _MAKE_KEY) from error
    with as_it_is(uri) as folder, tempfile.TemporaryDirectory(prefix="boxcar-") as temporary:
        _check_finished(folder, uri)
        signature = Path(temporary, SIGNATURE)
        try:
            config.sign(folder, signature)
        except ValueError as error:
            what = f"{uri} cannot be signed: {' '.join(str(error).split()).rstrip('.')}."
            raise BoxcarError(ExitCode.DATA, what, "Replace each link with a copy.") from error
        open_store(uri).write(SIGNATURE, signature.read_bytes())
        return count_signed(folder) + (not (folder / SIGNATURE).exists())


def _check_finished(folder: Path, uri: str) -> None:
    """Refuses what no step believes: a signature would say that somebody has made it so."""
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


def _reason(error: Exception) -> str:
    # openssl's own words on a file that is no key are a list of codes.
    text = str(error)
    if "encrypted" in text:
        return "encrypted keys are not supported"
    return text.rstrip(".") if text.startswith("Unsupported key") else "it is not an elliptic-curve private key in PEM format"
