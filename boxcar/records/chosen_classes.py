"""What a choice of classes means for a data folder, once all of its labels were read."""

import difflib

from boxcar.config.class_choice import ClassChoice
from boxcar.errors import BoxcarError, ExitCode
from boxcar.records.checked import CheckedBatch
from boxcar.records.faults import shown

_NAMED = 20  # classes in a sentence


def check_chosen(choice: ClassChoice, found: CheckedBatch) -> None:
    """Refuses a choice that mentions a class which no object has, or that leaves no object.

    Raises:
        BoxcarError: 64.
    """
    if not found.named:
        return  # there are no objects, which is another error
    unknown = [name for name in choice.names if name not in found.named]
    if unknown:
        near = {name: one for name in unknown if (one := _nearest(name, found.named)) is not None}
        some = sorted(found.named)[:_NAMED]
        do = f"The classes are {', '.join(map(shown, some))}{', ...' if len(found.named) > _NAMED else ''}."
        if near:
            do = f"Write {' and '.join(f'{shown(one)} instead of {shown(name)}' for name, one in near.items())}."
        raise BoxcarError(
            ExitCode.USAGE, f"No object has the class {', '.join(map(shown, unknown))}, which --classes mentions.", do
        )
    if all(choice.name_of(name) is None for name in found.named):
        raise BoxcarError(ExitCode.USAGE, "--classes drops the classes of all objects.", "Keep at least one class.")


def emptied_warning(found: CheckedBatch) -> list[str]:
    """A sentence about the images whose objects were all dropped; none if there is no such image."""
    if not found.emptied:
        return []
    images = "1 image has" if found.emptied == 1 else f"{found.emptied} images have"
    counts = "counts as an image" if found.emptied == 1 else "count as images"
    return [f"{images} only objects of classes that --classes drops, and {counts} without objects."]


def _nearest(name: str, names: set[str]) -> str | None:
    """The name that was probably meant; None if none is near."""
    spelled = {one.casefold(): one for one in sorted(names, reverse=True)}
    near = difflib.get_close_matches(name.casefold(), spelled, 1)
    return spelled[near[0]] if near else None
