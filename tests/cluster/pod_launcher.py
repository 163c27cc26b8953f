"""What Kubeflow's launcher does in a step's pod, with what our images hold: makes folders, runs the step, sends what it left.

Arguments: the executor input, then the step's command. As Kubeflow's own, it has keys to the bucket of artifacts that the step
is not given; they lie beside it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

KEYS = Path(__file__).parent


def local(uri: str) -> Path:
    return Path("/", uri.replace("://", "/"))


def run(command: list[str]) -> int:
    """The step's exit code. SIGTERM goes to all of its processes, as Argo's executor passes it on; what the shell that it began
    with leaves behind lives for about a second after that, as long as it was seen to on a real server."""
    process = subprocess.Popen(command, start_new_session=True)
    told: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        told.append(number)
        os.killpg(process.pid, number)

    signal.signal(signal.SIGTERM, forward)
    code = process.wait()
    if told:
        time.sleep(1)
    return code


def main() -> int:
    given, *command = sys.argv[1:]
    outputs = json.loads(given)["outputs"]
    files = [Path(one["outputFile"]) for one in outputs["parameters"].values()]
    files += [local(artifact["uri"]) for one in outputs["artifacts"].values() for artifact in one["artifacts"]]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    code = run([argument.replace("{{$}}", given) for argument in command])
    if code == 0:
        from boxcar.storage import open_store
        from boxcar.sync.transfer import send_folder

        os.environ.update({path.name: path.read_text() for path in KEYS.iterdir() if path.name.isupper()})
        root = Path(outputs["outputFile"]).parent
        send_folder(root, open_store(f"s3://{root.relative_to('/minio')}"))
    return code


if __name__ == "__main__":
    sys.exit(main())
