"""The records step: a folder of labelled photographs becomes TFRecord shards, a label map and `dataset.json`.

May import config, data, sync, run, storage and errors; never TensorFlow. The step itself is loaded when it is first asked for:
its worker processes import this package too, and need neither NumPy nor what reads buckets.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boxcar.records.build import build_records
    from boxcar.records.summary_text import summary_lines

__all__ = ["build_records", "summary_lines"]


def __getattr__(name: str) -> object:
    if name == "build_records":
        from boxcar.records.build import build_records

        return build_records
    if name == "summary_lines":
        from boxcar.records.summary_text import summary_lines

        return summary_lines
    raise AttributeError(name)
