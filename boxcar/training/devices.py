"""The devices of a training (CPU, one GPU, several GPUs, or several workers) as TensorFlow distribution strategies."""

import json
import os
from dataclasses import dataclass
from typing import Any

from boxcar.errors import BoxcarError, ExitCode
from boxcar.training.settings import TrainingSettings

TF_CONFIG = "TF_CONFIG"


@dataclass(frozen=True)
class Workers:
    """The workers of one training, as TF_CONFIG lists them.

    Attributes:
        count: how many there are.
        index: index of this worker. The first one, the chief, writes checkpoints and summaries.
    """

    count: int = 1
    index: int = 0

    @property
    def is_chief(self) -> bool:
        return self.index == 0


def read_workers() -> Workers:
    """The workers that TF_CONFIG lists; one worker if it is not set.

    Raises:
        BoxcarError: 64 for a TF_CONFIG that cannot be read.
    """
    text = os.environ.get(TF_CONFIG, "")
    if not text.strip():
        return Workers()
    try:
        value = json.loads(text)
        workers, task = value["cluster"]["worker"], value["task"]
        others = sorted(set(value["cluster"]) - {"worker"})
        index = int(task["index"])
        if others or task["type"] != "worker" or not isinstance(workers, list) or not 0 <= index < len(workers):
            raise ValueError("its cluster must list workers only, and its task must be one of them")
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise BoxcarError(
            ExitCode.USAGE,
            f"The environment variable {TF_CONFIG} cannot be understood: {reason}.",
            'Write {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}.',
        ) from error
    return Workers(len(workers), index)


def require_gpus(asked: int | None, seen: int) -> None:
    """Raises an error instead of training on the CPU when GPUs were requested.

    Raises:
        BoxcarError: 69 if fewer GPUs are visible than requested.
    """
    if asked is not None and seen < asked:
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"Training needs {asked} {'GPU' if asked == 1 else 'GPUs'}, but TensorFlow sees {seen or 'none'}.",
            "Run `boxcar doctor` to see what is missing, or add --gpus 0 to train on the CPU.",
        )


def check_replicas(settings: TrainingSettings, replicas: int) -> None:
    """Raises BoxcarError 64 if the settings do not fit this number of replicas."""
    if settings.batch_size % replicas:
        raise BoxcarError(
            ExitCode.USAGE,
            f"A batch of {settings.batch_size} images cannot be shared equally by {replicas} replicas.",
            f"Give --batch-size a multiple of {replicas}.",
        )
    if settings.xla and replicas > 1:
        raise BoxcarError(
            ExitCode.USAGE, f"XLA supports one replica only, but there are {replicas}.", "Leave out xla, or train on one GPU."
        )


def make_strategy(gpus: int | None, workers: Workers) -> Any:
    """The strategy that uses `gpus` GPUs of each worker. Call it before TensorFlow computes anything.

    On the CPU, the results of this thread are then reproducible to the last bit.

    Args:
        gpus: how many must be visible; None for all that are, 0 for the CPU.
        workers: of `read_workers`.

    Raises:
        BoxcarError: 69 if fewer GPUs are visible than requested, or the other workers cannot be reached.
    """
    import tensorflow as tf

    seen = tf.config.list_physical_devices("GPU")
    require_gpus(gpus, len(seen))
    used = seen if gpus is None else seen[:gpus]
    tf.config.set_visible_devices(used, "GPU")
    for gpu in used:
        # Else TensorFlow takes all of the memory at once, and what training needs cannot be seen.
        tf.config.experimental.set_memory_growth(gpu, True)
    strategy = _join(used, workers)
    _add_in_order()
    return strategy


def _join(used: list[Any], workers: Workers) -> Any:
    import tensorflow as tf

    if workers.count > 1:
        kind = tf.distribute.experimental.CommunicationImplementation
        options = tf.distribute.experimental.CommunicationOptions(implementation=kind.AUTO if used else kind.RING)
        try:
            return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            raise BoxcarError(
                ExitCode.ENVIRONMENT,
                f"The {workers.count} workers of {TF_CONFIG} cannot be joined: {str(error).splitlines()[0]}.",
                "See that each runs the same command and that their ports can be reached.",
            ) from error
    if len(used) > 1:
        return tf.distribute.MirroredStrategy([f"GPU:{number}" for number in range(len(used))])
    return tf.distribute.get_strategy()


def _add_in_order() -> None:
    """Keeps TensorFlow from adding up gradients in the order in which they are ready.

    Its memory optimizer (grappler/optimizers/memory_optimizer.cc, SchedulingPass) makes of a sum of three tensors or more, such
    as the gradient of a kernel that five pyramid levels share, additions to one variable, each as soon as it can be. Their
    order then differs from run to run, and so does the rounding; `enable_op_determinism` does not keep it from that, and
    `tf.config.optimizer` has no option for it. Measured at 320 pixels it saves neither time nor memory.
    """
    from tensorflow.core.protobuf import rewriter_config_pb2
    from tensorflow.python.eager import context

    options = context.context().config
    options.graph_options.rewrite_options.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    context.context().function_call_options = context.FunctionCallOptions(config_proto=options)
