"""Sends a folder to a bucket or fetches it, by Boxcar or by the MinIO SDK in a plain loop. A child of storage.py.

Usage: storage_child.py boxcar|sdk up|down BUCKET FOLDER
"""

import json
import os
import sys
import time
from pathlib import Path

from minio import Minio

PREFIX = "run/records"


def main() -> None:
    side, way, bucket, folder = *sys.argv[1:4], Path(sys.argv[4])
    address = os.environ["BOXCAR_S3_ENDPOINT"].removeprefix("http://")
    client = Minio(address, os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], secure=False)
    if way == "up":
        client.make_bucket(bucket)
    work = {"boxcar": boxcar, "sdk": sdk}[side](client, way, bucket, folder)
    started = time.perf_counter()
    work()
    print(json.dumps({"seconds": time.perf_counter() - started}))


def boxcar(_: Minio, way: str, bucket: str, folder: Path):
    from boxcar.storage import open_store
    from boxcar.sync.transfer import fetch_folder, send_folder

    store = open_store(f"s3://{bucket}/{PREFIX}")
    return lambda: send_folder(folder, store) if way == "up" else fetch_folder(store, folder)


def sdk(client: Minio, way: str, bucket: str, folder: Path):
    def up() -> None:
        for path in sorted(folder.iterdir()):
            client.fput_object(bucket, f"{PREFIX}/{path.name}", str(path))

    def down() -> None:
        for found in client.list_objects(bucket, f"{PREFIX}/", recursive=True):
            client.fget_object(bucket, found.object_name, str(folder / found.object_name.removeprefix(f"{PREFIX}/")))

    return up if way == "up" else down


if __name__ == "__main__":
    main()
