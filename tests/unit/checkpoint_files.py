"""Checkpoints of a run, written by hand: their files hold nothing that could be loaded."""

from pathlib import Path

from boxcar.run.checkpoints import mark_checkpoint


def write_checkpoint(train: Path, step: int, size: int = 1000) -> None:
    (train / f"ckpt-{step}.index").write_bytes(b"i" * size)
    (train / f"ckpt-{step}.data-00000-of-00001").write_bytes(bytes([step % 256]) * size)
    mark_checkpoint(train, step, "version")
