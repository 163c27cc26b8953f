"""The splits, and the names by which folders and files mean one of them."""

import re

SPLITS = ("train", "validation", "test")
NO_SPLIT = -1

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("validation", "validate", "valid", "val", "evaluation", "eval", "dev", "development"), 1),
    **dict.fromkeys(("test", "testing", "tests"), 2),
}
# What stands beside the split in the name of a folder or a file: `train2017`, `test_images`, `instances_val2017`.
_BESIDE_SPLIT = frozenset(
    {"image", "images", "img", "imgs", "pictures", "photos", "jpegimages", "data", "dataset", "set", "split", "label", "labels"}
    | {"annotation", "annotations", "xml", "xmls", "instances", "coco"}
)
_UNCLEAR = frozenset({"holdout", "heldout"})  # for validation or for the test
_WORDS = re.compile(r"[A-Za-z]+")


def folder_split(path: str) -> int:
    """The split that a folder on the path names, as an index into SPLITS. The innermost such folder decides."""
    for part in reversed(path.split("/")[:-1]):
        if (split := named_split(part)) != NO_SPLIT:
            return split
    return NO_SPLIT


def named_split(name: str) -> int:
    """The split that the name of a folder or file means, as an index into SPLITS: `valid`, `Test`, `train2017`, `test_images`.

    Only a name of one split and of words that tell nothing else is understood, so that `test-drive` means none.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    splits = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    if len(splits) != 1 or any(word not in _SPLIT_WORDS and word not in _BESIDE_SPLIT for word in words):
        return NO_SPLIT
    return splits.pop()


def mentioned_split(name: str) -> int:
    """The only split that words of a label file's name mean, as an index into SPLITS: `my_cats_train.json`."""
    words = {word.lower() for word in _WORDS.findall(name)} & _SPLIT_WORDS.keys()
    if "test" in words:
        words.discard("dev")  # COCO's test-dev is a part of its test set
    splits = {_SPLIT_WORDS[word] for word in words}
    return splits.pop() if len(splits) == 1 else NO_SPLIT


def is_misunderstood_split(name: str) -> bool:
    """Whether the name of a folder looks like a split's, but means none: `test-drive`, `train_and_val`, `holdout`."""
    words = [word.lower() for word in _WORDS.findall(name)]
    return bool(words) and words[0] in _SPLIT_WORDS.keys() | _UNCLEAR and named_split(name) == NO_SPLIT
