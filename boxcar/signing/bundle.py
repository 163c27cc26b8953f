"""What is signed: all files in a folder except the signature, which is among them.

It is in the format of OpenSSF Model Signing 1.0, so that its own command verifies it too:
`model_signing verify key FOLDER --signature FOLDER/model.sig --public_key FILE`.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.run.layout import SIGNATURE
from boxcar.storage import Missing, bucket_location, local_path, open_store
from boxcar.storage.names import check_names
from boxcar.storage.parallel import for_each


def import_signing() -> Any:
    """The package that signs.

    Raises:
        BoxcarError: 69 where it is not installed.
    """
    try:
        import model_signing
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        what = f"The packages that sign and verify are not installed: {error}."
        raise BoxcarError(ExitCode.ENVIRONMENT, what, "Install them with `pip install 'boxcar[sign]'`.") from error
    return model_signing


def hashing(signing: Any) -> Any:
    """Every file by its SHA-256; those of git's are files, too."""
    return signing.hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


@contextmanager
def as_it_is(uri: str) -> Iterator[Path]:
    """The folder itself; of one in a bucket all there is, hidden files too, fetched again, whatever its markers say.

    Raises:
        BoxcarError: 64 where nothing is there, 69 where the bucket fails.
    """
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


def count_signed(folder: Path) -> int:
    """How many files a signed folder holds besides the signature."""
    return sum(1 for path in folder.rglob("*") if path.is_file()) - 1
