"""The emulator of Google Cloud Storage, which passes `ifGenerationMatch` over, with that condition kept."""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects

_one_at_a_time = threading.RLock()  # what is looked at must still be so when it is written


def kept(handler: Callable[..., None]) -> Callable[..., None]:
    def conditional(request: Any, response: Any, storage: Any, *args: Any, **kwargs: Any) -> None:
        with _one_at_a_time:
            wanted = request.query.get("ifGenerationMatch", [None])[0]
            if wanted is not None and wanted != _generation(request, storage):
                response.status = HTTPStatus.PRECONDITION_FAILED
                response.write(json.dumps({"error": {"code": 412, "message": "conditionNotMet"}}))
                return
            handler(request, response, storage, *args, **kwargs)

    return conditional


def _generation(request: Any, storage: Any) -> str:
    """Of the object that is named; 0 where there is none."""
    name = request.params.get("object_id") or request.query.get("name", [None])[0] or request.data["meta"]["name"]
    try:
        return str(storage.get_file_obj(request.params["bucket_name"], name)["generation"])
    except NotFound:
        return "0"


# Before the server is imported, which takes them into its table.
objects.insert = kept(objects.insert)
objects.download = kept(objects.download)

if __name__ == "__main__":
    from gcp_storage_emulator.__main__ import main

    main()
