"""The two pipelines: one reads, checks, and splits; the other writes."""

from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.beam.transforms import check_images, read_items, split_images, write_records


class CheckedSplit(beam.PTransform):  # type: ignore[misc]
    """Reads, checks, and splits the images of a data folder. The result is the name of a `Split` in the scratch folder."""

    def __init__(self, scratch: str) -> None:
        super().__init__()
        self._scratch = scratch

    def expand(self, begin: Any) -> Any:
        """From the begin of a pipeline to one name."""
        return (
            begin
            | "Start" >> beam.Impulse()
            | "ReadItems" >> beam.FlatMap(read_items, self._scratch)
            | "SpreadBatches" >> beam.Reshuffle()
            | "CheckImages" >> beam.Map(check_images, self._scratch)
            | "Together" >> beam.GroupBy(lambda _: None)
            | "Names" >> beam.Values()
            | "SplitImages" >> beam.Map(split_images, self._scratch)
        )


class WrittenShards(beam.PTransform):  # type: ignore[misc]
    """Writes shards. The results are the names of `WrittenShard` in the scratch folder."""

    def __init__(self, scratch: str, tasks: Sequence[str]) -> None:
        super().__init__()
        self._scratch = scratch
        self._tasks = tasks

    def expand(self, begin: Any) -> Any:
        """From the begin of a pipeline to a name for each shard."""
        return (
            begin
            | "Shards" >> beam.Create(self._tasks)
            | "SpreadShards" >> beam.Reshuffle()
            | "WriteShards" >> beam.Map(write_records, self._scratch)
        )


class Runner:
    """Runs pipelines with the options that Beam's users know.

    Args:
        words: pipeline options, such as `--runner=FlinkRunner`.

    Raises:
        BoxcarError: 64 for an option that Beam refuses.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self.temporary: str | None = self._options().view_as(GoogleCloudOptions).temp_location

    def check_and_split(self, scratch: str) -> None:
        """Runs the pipeline of `CheckedSplit`."""
        self._run("boxcar-check", lambda pipeline: pipeline | "Check" >> CheckedSplit(scratch))

    def write(self, scratch: str, tasks: Sequence[str]) -> None:
        """Runs the pipeline of `WrittenShards`."""
        self._run("boxcar-write", lambda pipeline: pipeline | "Write" >> WrittenShards(scratch, tasks))

    def _options(self) -> PipelineOptions:
        try:
            # Without a runner, Beam looks for its Prism, and would download it.
            return PipelineOptions(["--runner=FnApiRunner", *self._words])
        except SystemExit as error:
            raise self._refused("Beam refuses one of the pipeline options") from error

    def _run(self, name: str, build: Callable[[beam.Pipeline], Any]) -> None:
        """Runs a pipeline to its end.

        Raises:
            BoxcarError: 64 for options that the runner refuses; 69 if the pipeline fails.
        """
        try:
            pipeline = beam.Pipeline(options=self._options())
        except ValueError as error:  # an unknown runner, or options that do not fit together
            raise self._refused(f"Beam refuses the pipeline options: {_first_line(error)}") from error
        build(pipeline)
        try:
            state = pipeline.run().wait_until_finish()
        except Exception as error:
            raise self._failed(_first_line(error)) from error
        if state != "DONE":
            raise self._failed(f"it ended as {state}")

    def _refused(self, what: str) -> BoxcarError:
        return BoxcarError(ExitCode.USAGE, f"{what.rstrip('.')}.", "Correct what follows -- on the command line.")

    def _failed(self, reason: str) -> BoxcarError:
        what = f"The Apache Beam pipeline failed: {reason.rstrip('.')}."
        return BoxcarError(ExitCode.ENVIRONMENT, what, "The runner's messages say more.", again=True)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
