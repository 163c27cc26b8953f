"""What the server serves: a fixed list of addresses, each with its file or text."""

import json
from pathlib import Path, PurePosixPath

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.tfjs import find_tfjs
from boxcar.run.layout import EXPORT
from boxcar.run.step import Committed, require_commit
from boxcar.storage.cache import uri_of

PAGE = Path(__file__).with_name("page")

# Only these parts of TensorFlow.js. Without its plain JavaScript backend, it cannot fall back to that.
LIBRARIES = (
    "tfjs-core/dist/tf-core.min.js",
    "tfjs-converter/dist/tf-converter.min.js",
    "tfjs-backend-wasm/dist/tf-backend-wasm.min.js",
    "tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm",
    "tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm",
    "tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm",
    "tfjs-backend-webgl/dist/tf-backend-webgl.min.js",
)

Site = dict[str, Path | bytes]  # from the path of an address, starting with `/`, to its file or its bytes


def collect(run: Path) -> Site:
    """The page, TensorFlow.js and the run's models.

    Args:
        run: the run's folder.

    Raises:
        BoxcarError: 64 if the run has no finished conversion, or none to TensorFlow.js; 65 if its files were changed; 69 if
            TensorFlow.js is not installed.
    """
    exported = require_commit(run / EXPORT, "convert")
    models = _models(exported)
    if not models:
        raise BoxcarError(
            ExitCode.USAGE,
            f"{uri_of(exported.folder)} has no TensorFlow.js model.",
            "Convert again with tfjs_float32 in --formats.",
        )
    packages = find_tfjs()
    site: Site = {f"/{file.name}": file for file in PAGE.iterdir()}
    site["/"] = PAGE / "index.html"
    site |= {f"/vendor/{PurePosixPath(library).name}": packages / library for library in LIBRARIES}
    listing = []
    for name, files in models.items():
        site |= {f"/models/{name}/{file.name}": file for file in files}
        size = sum(exported.files[f"tfjs/{name}/{file.name}"]["bytes"] for file in files)
        listing.append({"name": name, "folder": f"models/{name}/", "bytes": size})
    site["/models.json"] = json.dumps({"models": listing}).encode()
    return site


def _models(exported: Committed) -> dict[str, list[Path]]:
    """Each TensorFlow.js model's name with its files; that of full precision comes first."""
    found: dict[str, list[Path]] = {}
    for path in map(PurePosixPath, exported.files):
        match path.parts:
            case ("tfjs", name, _):
                found.setdefault(name, []).append(exported.folder / path)
    return dict(sorted(found.items(), key=lambda model: (model[0] != "float32", model[0])))
