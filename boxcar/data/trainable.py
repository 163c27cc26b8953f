"""Whether a detector can learn from records: their train split must contain an object. Loads neither NumPy nor TensorFlow."""

from collections.abc import Mapping

from boxcar.errors import BoxcarError, ExitCode


def require_training_objects(boxes: Mapping[str, int], where: str) -> None:
    """Refuses data whose train split contains no object. A detector that is trained on it learns to find nothing.

    Args:
        boxes: the number of labeled boxes of each split, by its name.
        where: the data's folder, for the message.

    Raises:
        BoxcarError: 65.
    """
    if boxes["train"]:
        return
    elsewhere = " and ".join(f"{split} ({count})" for split, count in boxes.items() if count)
    found = f" Its labeled boxes are in {elsewhere}." if elsewhere else ""
    raise BoxcarError(
        ExitCode.DATA,
        f"No image of the train split of {where} contains an object, so there is nothing to learn.{found}",
        "Label training images, or move labeled images into the train split.",
    )
