"""The records step: a folder of labelled photographs becomes TFRecord shards, a label map and `dataset.json`."""

from boxcar.records.build import build_records
from boxcar.records.finished import take_records
from boxcar.records.summary_text import summary_lines

__all__ = ["build_records", "summary_lines", "take_records"]
