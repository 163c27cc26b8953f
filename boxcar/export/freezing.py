"""`freeze`: turns a checkpoint into a SavedModel with preprocessing and decoding inside, and writes the files around it."""

import logging
import tempfile
import time
from pathlib import Path

from boxcar.data.label_map import differing_ids, read_label_map, write_label_map
from boxcar.detectors.catalog import build_network, check_image_size, find_architecture
from boxcar.detectors.checkpoint_description import fetch_description, find_description
from boxcar.detectors.checkpoint_sources import best_of_run
from boxcar.detectors.coco_labels import COCO_LABELS, COCO_SLOTS
from boxcar.detectors.network import Network
from boxcar.detectors.tasks import find_task
from boxcar.errors import BoxcarError, ExitCode
from boxcar.export.pipeline_config import PIPELINE, pipeline_config
from boxcar.export.provenance import Provenance, trace
from boxcar.inference.embedded import LABELS, PROVENANCE, labels_text
from boxcar.inference.specification import (
    SPECIFICATION,
    Specification,
    Thresholds,
    has_gaps,
    read_specification,
    slot_ids,
    specification_json,
)
from boxcar.run.layout import LABEL_MAP, RECORDS, TRAIN
from boxcar.run.step import Committed, Step
from boxcar.storage import bucket_location, fetch_file, file_sha256, local_path, replace_text
from boxcar.storage.cache import uri_of
from boxcar.sync.mirror import Mirror

ZOO_THRESHOLDS = Thresholds(score=1e-8)


def freeze(
    architecture: str,
    checkpoint: str,
    output: str,
    *,
    label_map: str | None = None,
    image_size: int | None = None,
    score_threshold: float | None = None,
) -> Committed:
    """Writes `saved_model/`, `checkpoint/ckpt-0`, `label_map.pbtxt` and `detector.json` into `output`.

    This is the layout of the TF2 Detection Zoo. For an architecture of the Object Detection API, there is also
    `pipeline.config`, with which the API builds the model and restores the checkpoint.

    The SavedModel's signature `serving_default` takes `input_tensor`, uint8 [1, H, W, 3], and returns `detection_boxes`
    [1, M, 4] (ymin, xmin, ymax, xmax, normalized), `detection_classes` [1, M] (from 1), `detection_scores` [1, M], and
    `num_detections` [1]. `serve_batch` takes `input_tensor`, uint8 [N, H, W, 3], and `serve_bytes` takes `encoded`, the bytes
    of N JPEG or PNG files of any sizes, which it decodes as `decode_graph.decode_file`; both return the same for each image.
    The signature `heads` takes `image`, float32 [1, S, S, 3] in the value range of `detector.json`, and returns the outputs of
    the architecture's task: for boxes, `box_encodings` [1, A, 4] and `class_logits` [1, A, C]. Batch norms are folded into the
    convolutions before them. The assets are `labels.txt` and `provenance.json`.

    Args:
        architecture: its name in the catalog.
        checkpoint: prefix (URI) of a checkpoint of ours or of the TF2 Detection Zoo's (`.../ckpt-0`), or a run, whose best
            checkpoint it is then.
        output: folder (URI).
        label_map: a `label_map.pbtxt`. By default, the first of these: the one in the checkpoint's folder, the labels in
            its `detector.json`, the label map in `../records` of a run, COCO's labels if there are 91 class slots.
        image_size: side of the network's input in pixels. By default, that in the checkpoint's `detector.json`, else the
            architecture's.
        score_threshold: detections have a higher score than this. By default, that in the checkpoint's `detector.json`, else
            the zoo's 1e-8, with which zoo checkpoints return what they return in the Object Detection API.

    Returns:
        The finished step. If it was finished with the same inputs before, nothing is done.

    Raises:
        BoxcarError: 64 for a wrong name, size, threshold, or path, and for an architecture, image size, or label map other than
            the checkpoint's own; 65 if checkpoint, label map, and architecture do not fit together or a weight is not finite;
            69 if `output` cannot be written.
    """
    started = time.monotonic()
    find_architecture(architecture)
    prefix, run = _fetch_checkpoint(best_of_run(checkpoint))
    given = None if label_map is None else fetch_file(label_map)
    files = _checkpoint_files(prefix)
    specification, label_file = _specify(architecture, prefix, given, image_size, score_threshold)
    inputs = {f"checkpoint{path.name.removeprefix(prefix.name)}": file_sha256(path) for path in files}
    if label_file is not None:
        inputs["label_map"] = file_sha256(label_file)
    with Mirror(output).working() as working:
        step = Step(
            "freeze",
            working,
            inputs,
            {"checkpoint": prefix.name, "specification": specification.model_dump(mode="json")},
            started=started,
        )
        if committed := step.done():
            return committed
        with step.writing() as folder:
            write_frozen(_load(specification, prefix), specification, trace(prefix, run, specification), folder)
        done = step.done()
        assert done is not None
        return done


def _fetch_checkpoint(checkpoint: str) -> tuple[Path, str | None]:
    """The checkpoint's prefix on this machine, after fetching what describes it; the URI of its run, if it is in one."""
    location = bucket_location(checkpoint)
    if location is None:
        prefix = local_path(checkpoint)
        folder = prefix.absolute().parent
        return prefix, folder.parent.as_uri() if folder.name == TRAIN else None
    parent, name = location.split()
    prefix = Mirror(parent).fetch_some(lambda file: file.startswith(f"{name}.") or file == LABEL_MAP) / name
    fetch_description(parent)
    if prefix.parent.name != TRAIN:
        return prefix, None
    run = parent.rpartition("/")[0]
    if find_description(prefix) is None:
        Mirror(run).below(RECORDS).fetch_some(lambda file: file == LABEL_MAP)
    return prefix, run


def write_frozen(network: Network, specification: Specification, provenance: Provenance, folder: Path) -> None:
    """Writes what `freeze` writes, for a network in memory.

    Raises:
        BoxcarError: 69 if the folder cannot be written.
    """
    import tensorflow as tf

    from boxcar.detectors.folding import FoldedNetwork
    from boxcar.inference import graph
    from boxcar.inference.decode_graph import decode_file

    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # "Assets written to", and the like
    size = specification.image_size
    folded, task = FoldedNetwork(network), find_task(specification)

    def detect(resized: tf.Tensor) -> dict[str, tf.Tensor]:
        return task.detect(folded(graph.normalize(resized, specification)), specification)

    def serve_bytes(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        # One at a time, because each has its own size.
        return detect(
            tf.map_fn(
                lambda one: graph.resize(decode_file(one), size),
                encoded,
                fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
            )
        )

    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return detect(graph.resize(pixels, size))

    signatures = {
        "serving_default": tf.function(serve, input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, "input_tensor")]),
        "serve_batch": tf.function(serve, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "input_tensor")]),
        "serve_bytes": tf.function(serve_bytes, input_signature=[tf.TensorSpec([None], tf.string, "encoded")]),
        "heads": tf.function(folded.__call__, input_signature=[tf.TensorSpec([1, size, size, 3], tf.float32, "image")]),
    }
    served = tf.Module()
    served.held = folded.weights
    assets = {LABELS: labels_text(specification.labels, dense=specification.dense_slots), PROVENANCE: provenance.text()}
    try:
        # TensorFlow copies them from files. Names with a dot are never part of a step.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".assets-") as originals:
            for name, text in assets.items():
                replace_text(Path(originals, name), text)
            served.assets = [tf.saved_model.Asset(str(Path(originals, name))) for name in assets]
            tf.saved_model.save(served, str(folder / "saved_model"), signatures=signatures)
        # As the API's exporter writes it: `checkpoint/checkpoint` names `ckpt-0`, and there is a save counter.
        checkpoint = tf.train.Checkpoint(model=network.trackable())
        tf.train.CheckpointManager(checkpoint, str(folder / "checkpoint"), max_to_keep=1).save(checkpoint_number=0)
    except tf.errors.OpError as error:
        # "{{function_node ...}} path; No space left on device [Op:SaveV2]"
        reason = str(error.message).splitlines()[0].rpartition("; ")[2].partition(" [Op:")[0]
        raise BoxcarError(
            ExitCode.ENVIRONMENT,
            f"{folder} cannot be written: {reason}.",
            "Free disk space, or choose a folder that you can write to.",
            again=True,
        ) from error
    write_label_map(folder / LABEL_MAP, specification.labels)
    feature_extractor = find_architecture(specification.architecture).api_feature_extractor
    if feature_extractor is not None:
        replace_text(folder / PIPELINE, pipeline_config(specification, feature_extractor))
    replace_text(folder / SPECIFICATION, specification_json(specification))


def _checkpoint_files(prefix: Path) -> list[Path]:
    """The checkpoint's index and data files."""
    index = prefix.with_name(f"{prefix.name}.index")
    inside = sorted(prefix.parent.iterdir()) if prefix.parent.is_dir() else []
    data = [path for path in inside if path.name.startswith(f"{prefix.name}.data-")]
    if not index.is_file() or not data:
        raise BoxcarError(
            ExitCode.USAGE,
            f"There is no checkpoint {uri_of(prefix)}.",
            "Give its path without extensions: .../ckpt-0 for ckpt-0.index and ckpt-0.data-00000-of-00001.",
        )
    return [index, *data]


def _specify(
    architecture: str, prefix: Path, label_map: Path | None, image_size: int | None, score_threshold: float | None
) -> tuple[Specification, Path | None]:
    """The detector's description, and the label map that its labels come from, if any."""
    row = find_architecture(architecture)
    description = find_description(prefix)
    trained = None if description is None else read_specification(description.parent)
    if trained is not None and trained.architecture != architecture:
        raise BoxcarError(
            ExitCode.USAGE,
            f"The checkpoint {uri_of(prefix)} has the architecture {trained.architecture}, not {architecture}.",
            f"Give --architecture {trained.architecture}.",
        )
    if trained is not None and image_size not in (None, trained.image_size):
        raise BoxcarError(
            ExitCode.USAGE,
            f"The checkpoint {uri_of(prefix)} was trained with an image size of {trained.image_size} pixels, not {image_size}.",
            f"Leave out --image-size, or train with --image-size {image_size}.",
        )
    size = image_size if image_size is not None else (trained.image_size if trained else row.image_size)
    check_image_size(row, size)
    anchors = trained.anchors if trained else row.anchors
    thresholds = trained.thresholds if trained else ZOO_THRESHOLDS
    if score_threshold is not None:
        if not 0 <= score_threshold < 1:
            raise BoxcarError(
                ExitCode.USAGE, f"The score threshold cannot be {score_threshold}.", "Give a number from 0 to below 1."
            )
        thresholds = thresholds.model_copy(update={"score": score_threshold})

    from boxcar.detectors.checkpoint_weights import count_class_slots  # loads TensorFlow

    slots = count_class_slots(prefix, row.class_predictor_bias, anchors)
    label_file, labels = _find_labels(prefix, label_map, trained, slots)
    # Only a detector of ours may have fewer slots than its highest id.
    dense = trained.dense_slots if trained else has_gaps(labels) and slots == len(labels) + 1
    if len(slot_ids(labels, dense=dense)) != slots:
        source = label_file or description or prefix
        raise BoxcarError(
            ExitCode.DATA,
            f"The label map {uri_of(source)} does not fit the checkpoint {uri_of(prefix)}: it has {len(labels)} classes with "
            f"ids up to {max(labels)}, and the checkpoint has {slots - 1} class slots.",
            "Give --label-map the label map that the checkpoint was trained with.",
        )
    place, own = _own_labels(prefix, trained) or ("", labels)
    if labels != own:
        number = differing_ids(labels, own)[0]
        raise BoxcarError(
            ExitCode.DATA if label_map is None else ExitCode.USAGE,
            f"The label map {uri_of(label_file or prefix)} is not that of the checkpoint {uri_of(prefix)}: "
            f"id {number} is {labels.get(number)} in it, but {own.get(number)} in {place}.",
            "Leave out --label-map, or give the one that the checkpoint was trained with."
            if label_map is not None
            else "Restore the file that was changed.",
        )
    described = trained or row.specify(size, labels)
    update = {"image_size": size, "labels": labels, "dense_slots": dense, "thresholds": thresholds}
    return described.model_copy(update=update), label_file


def _find_labels(
    prefix: Path, label_map: Path | None, trained: Specification | None, slots: int
) -> tuple[Path | None, dict[int, str]]:
    if label_map is not None:
        return label_map, read_label_map(label_map)
    own = prefix.parent / LABEL_MAP
    if own.is_file():
        return own, read_label_map(own)
    if trained is not None:
        return None, trained.labels
    of_run = prefix.parent.parent / RECORDS / LABEL_MAP
    if of_run.is_file():
        return of_run, read_label_map(of_run)
    if slots == COCO_SLOTS:
        return None, COCO_LABELS
    raise BoxcarError(
        ExitCode.USAGE,
        f"There is no label map in the folder of the checkpoint {uri_of(prefix)}, which has {slots - 1} classes.",
        "Give the label map that it was trained with: --label-map FILE.",
    )


def _own_labels(prefix: Path, trained: Specification | None) -> tuple[str, dict[int, str]] | None:
    """Where a checkpoint's own labels are, and the labels; None if nothing says what it was trained with."""
    if trained is not None:
        return f"its {SPECIFICATION}", trained.labels
    for path in (prefix.parent / LABEL_MAP, prefix.parent.parent / RECORDS / LABEL_MAP):
        if path.is_file():
            return uri_of(path), read_label_map(path)
    return None


def _load(specification: Specification, prefix: Path) -> Network:
    import numpy as np

    from boxcar.detectors.checkpoint_weights import load_weights

    network = build_network(specification)
    load_weights(network, prefix)
    broken = [name for name, variable in network.variables_by_name().items() if not np.isfinite(variable.numpy()).all()]
    if broken:
        raise BoxcarError(
            ExitCode.DATA,
            f"The checkpoint {uri_of(prefix)} contains values that are not finite, for example in {broken[0]}.",
            "Freeze an earlier checkpoint.",
            tuple(broken),
        )
    return network
