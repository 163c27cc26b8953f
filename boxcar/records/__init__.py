"""The records step: a folder of labelled photographs becomes TFRecord shards, a label map and `dataset.json`.

May import config, data, sync, run, storage and errors; never TensorFlow. The step itself is loaded when it is first asked for:
its worker processes import this package too, and need neither NumPy nor what reads buckets.
"""

from typing import TYPE_CHECKING

__all__ = ["build_records", "summary_lines"]

if TYPE_CHECKING:
    from boxcar.records.build import build_records
    from boxcar.records.summary_text import summary_lines
else:

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(name)
        import importlib

        module = importlib.import_module("boxcar.records.build" if name == "build_records" else "boxcar.records.summary_text")
        return getattr(module, name)
