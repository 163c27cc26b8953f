"""The engine: what the command's process does before, between, and after the pipelines."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from boxcar.config.run_settings import LabelFormat
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.beam.place import Place
from boxcar.records.beam.scratch import Scratch, scratch_folder
from boxcar.records.beam.transforms import JOB, PLAN, Job, ShardTask, Split, located_source
from boxcar.records.data_folder import data_folder
from boxcar.records.engine import Checked, MakePlan, Plan, Settings
from boxcar.records.images import is_image
from boxcar.records.listing import FoundNames, list_names, list_objects
from boxcar.records.previews import Preview
from boxcar.records.shards import Shard
from boxcar.records.source import Source, find_contents, find_labels
from boxcar.records.table import ImageTable
from boxcar.run.layout import COMMIT, LABEL_MAP, UNFINISHED
from boxcar.run.progress import Progress
from boxcar.storage import open_store
from boxcar.sync.mirror import Mirror

if TYPE_CHECKING:
    from boxcar.records.beam.pipeline import Runner

Task = TypeVar("Task")
Result = TypeVar("Result")


class BeamEngine:
    """Runs the work on images in Apache Beam. Serves one call of `build_records`.

    Args:
        options: pipeline options, as Beam's users know them, such as `--runner=FlinkRunner`.

    Raises:
        BoxcarError: 69 if Apache Beam is not installed; 64 for an option that Beam refuses.
    """

    def __init__(self, options: Sequence[str] = ()) -> None:
        try:
            from boxcar.records.beam.pipeline import Runner
        except ImportError as error:
            what = f"The package of Apache Beam is not installed: {error}."
            raise BoxcarError(ExitCode.ENVIRONMENT, what, "Install it with `pip install 'boxcar[beam]'`.") from error
        self._runner = Runner(options)

    @contextmanager
    def data(self, data: str) -> Iterator[Path]:
        """The data folder. A bucket's files are not fetched: each worker reads those of its tasks."""
        mirror = Mirror(data)
        if mirror.remote:
            self._place = Place(mirror.uri, mirror.folder)
            yield mirror.folder
            return
        with data_folder(data) as root:
            self._place = Place(str(root), root)
            yield root

    @contextmanager
    def working(self, output: str) -> Iterator[Path]:
        """The step's folder. If it is in a bucket, the workers themselves upload the shards."""
        mirror = Mirror(output)
        self._output = mirror.uri if mirror.remote else str(mirror.folder)
        with scratch_folder(self._output, self._runner.temporary) as self._scratch:
            folder = mirror.resume()
            self._workers = _BeamWorkers(self._runner, self._scratch, self._place, self._output, folder, mirror.remote)
            yield folder
            mirror.send(uploaded=self._workers.uploaded)

    def find_labels(self, root: Path, output: Path) -> tuple[dict[int, str], list[str]]:
        """As `source.find_labels`."""
        if not self._place.remote:
            return find_labels(root, output)
        maps = [name for name in self._names(output).names if name.count("/") < 2 and name.rpartition("/")[2] == LABEL_MAP]
        with self._place.files(maps) as copies:
            return find_labels(copies, output)

    @contextmanager
    def opened(self, root: Path, output: Path, wanted: LabelFormat | None) -> Iterator[Source]:
        """As `opened_source`."""
        self._contents = find_contents(self._place.root, self._names(output), self._place.open, wanted)
        with closing(ImageTable(self._contents.names)) as table:
            yield located_source(self._place, self._contents, table, self._workers)

    def check(self, source: Source, settings: Settings, make_plan: MakePlan) -> Checked:
        """Checks and splits all images."""
        self._scratch.put(JOB, Job(self._place, self._contents, settings, make_plan))
        with Progress("Checking images", sum(map(is_image, source.listing.names)), "images") as progress:
            self._runner.check_and_split(self._scratch.uri)
            progress.advance(progress.total)
        split: Split = self._scratch.get(PLAN)

        def plan() -> Plan:
            if isinstance(split.plan, BoxcarError):
                raise split.plan
            source.table.restore(map(self._scratch.get, split.objects))
            return split.plan

        return Checked(split.files_digest, plan)

    def _names(self, output: Path) -> FoundNames:
        if not self._place.remote:
            return list_names(self._place.root, output)
        inside = self._output.startswith(f"{self._place.uri}/")
        return list_objects(open_store(self._place.uri), self._output.removeprefix(f"{self._place.uri}/") if inside else None)


class _BeamWorkers:
    """What `write_files` gives its tasks to: shards go into a pipeline, and a few small images are made here."""

    def __init__(self, runner: "Runner", scratch: Scratch, place: Place, output: str, folder: Path, remote: bool) -> None:
        self.uploaded: set[str] = set()  # the shards that the workers have put into the output's bucket
        self._runner = runner
        self._scratch = scratch
        self._place = place
        self._output = output
        self._folder = folder
        self._remote = remote

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """As `WorkerPool.run`, for shards and previews."""
        shards = dict[str, Shard]()
        for task in tasks:
            if isinstance(task, Preview):
                with self._place.files([task.file]) as root:
                    yield task, function(cast(Task, task._replace(root=root)))
            else:
                assert isinstance(task, Shard)
                name = f"shards/{len(shards):06d}"
                self._scratch.put(name, ShardTask(self._place, self._output, task))
                shards[name] = replace(task, rows=b"", objects=b"")
        if not shards:
            return
        if self._remote:
            # As `send_folder` begins: while shards are replaced, nobody takes the folder for finished.
            store = open_store(self._output)
            store.write(UNFINISHED, (self._folder / UNFINISHED).read_bytes())
            store.delete([COMMIT])
            self.uploaded |= {shard.path.name for shard in shards.values()}
        self._runner.write(self._scratch.uri, list(shards))
        for name, shard in shards.items():
            yield cast(Task, shard), self._scratch.get(name.replace("shards", "written"))

    def close(self) -> None:
        """Nothing runs between the pipelines."""

    def kill(self) -> None:
        """Nothing runs between the pipelines."""
