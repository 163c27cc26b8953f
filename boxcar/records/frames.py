"""What the boxes of an image refer to that EXIF turns or mirrors, if its own label does not tell.

Some labeling tools show an image as EXIF says, and others as it is stored. The size in a label tells which, unless it fits
both or is missing. Then the tool is inferred from the labels that do tell.
"""

from boxcar.records.checked import CheckedBatch, Few, Frame
from boxcar.records.table import ImageTable


def decide_frames(found: CheckedBatch, table: ImageTable) -> None:
    """Decides for all undecided images whether they are taken as they are shown or as they are stored.

    The labels in the same file or folder decide, if any of them tell; else those of the whole data. All must tell the same.
    If none tells, or they contradict each other, images are taken as they are shown.

    Args:
        found: the totals of all batches, to which what was found of these images is added.
        table: the results of all batches.
    """
    shown, stored = (sum(votes) for votes in zip((0, 0), *found.votes.values(), strict=True))
    for by, images in sorted(found.undecided.items()):
        frame = _agreed(*found.votes.get(by, (shown, stored)))
        if frame == "stored":
            table.take_as_stored(by)
            found.merge(images.as_stored)
            continue
        if frame == "shown":
            images.as_shown.frame_unknown = Few()
        found.merge(images.as_shown)
    found.undecided.clear()


def _agreed(shown: int, stored: int) -> Frame | None:
    if bool(shown) == bool(stored):
        return None
    return "shown" if shown else "stored"


def frame_warnings(found: CheckedBatch) -> list[str]:
    """Sentences about images whose own labels did not tell, unless the others say that they are labeled as they are shown."""
    warnings = []
    if found.frame_unknown.count:
        one = found.frame_unknown.count == 1
        warnings.append(
            f"{found.frame_unknown} {'has' if one else 'have'} an EXIF orientation, and the labels do not tell whether "
            f"{'its' if one else 'their'} boxes were drawn with or without it. {'It is' if one else 'They are'} taken with it."
        )
    if found.exif_ignored.count:
        be = "is" if found.exif_ignored.count == 1 else "are"
        warnings.append(
            f"{found.exif_ignored} {be} taken without the EXIF orientation, which the labels of other images ignore."
        )
    return warnings
