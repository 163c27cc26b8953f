"""What Kubeflow's launcher does in a step's pod, with what our images hold: makes folders, runs the step, sends what it left.

Arguments: the executor input, then the step's command. As Kubeflow's own, it has keys to the bucket of artifacts that the step
is not given; they lie beside it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

KEYS = Path(__file__).parent


def local(uri: str) -> Path:
    return Path("/", uri.replace("://", "/"))


def main() -> int:
    given, *command = sys.argv[1:]
    outputs = json.loads(given)["outputs"]
    files = [Path(one["outputFile"]) for one in outputs["parameters"].values()]
    files += [local(artifact["uri"]) for one in outputs["artifacts"].values() for artifact in one["artifacts"]]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    code = subprocess.run([argument.replace("{{$}}", given) for argument in command], check=False).returncode
    if code == 0:
        from boxcar.storage import open_store, send_folder

        os.environ.update({path.name: path.read_text() for path in KEYS.iterdir() if path.name.isupper()})
        root = Path(outputs["outputFile"]).parent
        send_folder(root, open_store(f"s3://{root.relative_to('/minio')}"))
    return code


if __name__ == "__main__":
    sys.exit(main())
