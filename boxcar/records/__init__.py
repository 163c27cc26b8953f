"""The records step: turns a folder of labeled photographs into TFRecord shards, a label map, and `dataset.json`.

May import config, data, sync, run, storage, pages, and errors, but never TensorFlow. The step's modules are loaded on first
use, because its worker processes import this package and need neither NumPy nor the bucket clients.
"""

from typing import TYPE_CHECKING

__all__ = ["build_records", "convert_labels", "summary_lines", "take_records"]

if TYPE_CHECKING:
    from boxcar.records.build import build_records
    from boxcar.records.finished import take_records
    from boxcar.records.label_files import convert_labels
    from boxcar.records.summary_text import summary_lines
else:

    def __getattr__(name):
        from importlib import import_module

        modules = {
            "build_records": "build",
            "convert_labels": "label_files",
            "summary_lines": "summary_text",
            "take_records": "finished",
        }
        if name not in modules:
            raise AttributeError(name)
        return getattr(import_module(f"boxcar.records.{modules[name]}"), name)
