"""Matches annotation files with images by their names, for formats with one annotation file per image.

An annotation's image is, in this order:
1. the image with the same name (`a.xml`: `a.jpg`) in the same folder,
2. the same in an image folder that belongs to the annotation's folder: for `annotations/x` that is `images/x`, then `images`
   (and `JPEGImages`, `Images` and so on), then the folder that holds `annotations`,
3. the image that the annotation names, with or without suffix, in the same places,
4. the closest image with the same name anywhere in the data, and then the closest one that it names. The closest shares the
   most folders at the beginning of the path and, of these, the most at its end: `train/xmls/a` belongs to `train/photos/a`,
   `xmls/train/a` to `photos/train/a`. A folder that contains both images and annotations is matched only within itself.

The path that labelImg writes is ignored, because it belongs to another computer.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile

from boxcar.records.faults import Fault, Kind, shown
from boxcar.records.images import is_image
from boxcar.records.reader import Item, Listing

IMAGE_FOLDERS = frozenset({"images", "jpegimages", "image", "imgs", "img", "pictures", "photos"})
ANNOTATION_FOLDERS = frozenset({"annotations", "annotation", "xmls", "xml", "labels"})


def paired(listing: Listing) -> Iterator[Item | Fault]:
    """Every image and annotation of a listing, once each, and the faults of their pairing.

    Ambiguous images and annotations are reported as faults and are not in any item.
    """
    pairing = _Pairing(listing)
    annotations = [name for name in listing.names if not is_image(name)]
    for step in (pairing.beside, pairing.by_own_name, pairing.by_given_name):
        annotations = [name for name in annotations if not step(name)]
    annotations = pairing.anywhere(annotations, lambda name: [_stem(_base(name))])
    annotations = pairing.anywhere(annotations, pairing.given_stems)
    yield from pairing.faults
    yield from (Item(None, name) for name in annotations)
    for name in listing.names:
        if is_image(name) and name not in pairing.left_out:
            yield Item(name, pairing.owners.get(name))


def labeled(items: Iterable[Item | Fault]) -> set[str]:
    """The images of those items that have an annotation."""
    return {item.image for item in items if isinstance(item, Item) and item.image is not None and item.source is not None}


class _Pairing:
    """The state of the pairing: the annotation of each image that has one, the images that are left out, and why."""

    def __init__(self, listing: Listing) -> None:
        self.owners: dict[str, str] = {}
        self.left_out: set[str] = set()
        self.faults: list[Fault] = []
        self._names = listing.names
        self._image_names = listing.image_names
        self._image_branches = _branches(name for name in listing.names if is_image(name))
        self._annotation_branches = _branches(name for name in listing.names if not is_image(name))
        self._places_of: tuple[str | None, list[str]] = (None, [])  # of the last folder; annotations come sorted by it

    def beside(self, annotation: str) -> bool:
        """Pairs files in the same folder, which is almost always all of them. An image and an annotation that alone share a
        name are paired before any other annotation can claim the image."""
        together = self._of(_stem(annotation))
        images = [name for name in together if is_image(name)]
        return len(images) == 1 and len(together) == 2 and self._take(images[0], annotation)

    def by_own_name(self, annotation: str) -> bool:
        for place in self._places(_folder(annotation)):
            found = self._images(_joined(place, _stem(_base(annotation))))
            if len(found) > 1:
                # The annotation may say which one it means; the other cannot have boxes of its own.
                given = self._image_names(annotation)
                meant = next((name for name in found if _base(name) in given), found[0])
                self._leave_out([name for name in found if name != meant], annotation, meant)
                found = [meant]
            if found and self._take(found[0], annotation):
                return True
        return False

    def by_given_name(self, annotation: str) -> bool:
        for given in self._image_names(annotation):
            for place in self._places(_folder(annotation)):
                alike = self._images(_joined(place, _stem(given)))
                exact = [name for name in alike if _base(name) == given]
                found = exact or self._images(_joined(place, given)) or alike
                if found and not self._take(found[0], annotation):
                    owner = shown(self.owners[found[0]])
                    self._blame(annotation, "two_annotations", f"it describes {shown(given)}, which {owner} already describes")
                if found:
                    return True
        return False

    def given_stems(self, annotation: str) -> list[str]:
        """The names without suffix of the images that an annotation names, which may lack their suffixes."""
        return [stem for given in self._image_names(annotation) for stem in dict.fromkeys((given, _stem(given)))]

    def anywhere(self, annotations: Sequence[str], stems: Callable[[str], Iterable[str]]) -> list[str]:
        """Pairs annotations with free images of their `stems` (names without folders and suffix) in any folder.

        Returns:
            The annotations for which there is no image.
        """
        if not annotations:
            return []
        free = defaultdict(list)
        for name in self._names:
            if is_image(name) and name not in self.owners:
                free[_stem(_base(name))].append(name)
        groups = defaultdict(list)
        for name in annotations:
            groups[next((stem for stem in stems(name) if stem in free), "")].append(name)
        left = groups.pop("", [])
        for stem, group in groups.items():
            left += self._closest(group, free[stem])
        return sorted(left)

    def _closest(self, annotations: list[str], images: list[str]) -> list[str]:
        """Pairs annotations with images of one name. Returns the annotations that have none."""
        for lead, trail in _levels(annotations, images):
            by_place: defaultdict[object, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
            for kind, names in enumerate((annotations, images)):
                for name in names:
                    if (place := _place(name, lead, trail)) is not None:
                        by_place[place][kind].append(name)
            decided: set[str] = set()
            for alike in by_place.values():
                some_annotations, some_images = self._apart(*alike, lead)
                if some_annotations and some_images:
                    self._decide(some_annotations, some_images)
                    decided.update(some_annotations, some_images)
            annotations = [name for name in annotations if name not in decided]
            images = [name for name in images if name not in decided]
        return annotations

    def _apart(self, annotations: list[str], images: list[str], lead: int) -> tuple[list[str], list[str]]:
        """Those that may be paired: an annotation from a folder with images does not describe one from a folder with
        annotations. The folders are those below the first `lead` ones, which all of the names share."""
        if all(_branch(name, lead) in self._annotation_branches for name in images):
            return [name for name in annotations if _branch(name, lead) not in self._image_branches], images
        if all(_branch(name, lead) in self._image_branches for name in annotations):
            return annotations, [name for name in images if _branch(name, lead) not in self._annotation_branches]
        return annotations, images

    def _decide(self, annotations: list[str], images: list[str]) -> None:
        """Pairs equally close annotations and images if there is one of each, or if the annotations name their images."""
        named = {} if len(images) == 1 else {name: self._given(name, images) for name in annotations}
        claims = Counter(named.values())
        sure = {name: image for name, image in named.items() if image is not None and claims[image] == 1}
        open_annotations = [name for name in annotations if name not in sure]
        open_images = [name for name in images if name not in sure.values()]
        if len(open_annotations) == len(open_images) == 1:
            sure[open_annotations.pop()] = open_images.pop()
        for name, image in sure.items():
            self._take(image, name)
        for name in open_annotations:
            if len(images) > 1:
                self._blame(name, "same_stem", f"it could describe {_either(images)}; move it into the folder of its image")
            else:
                others = _either([other for other in annotations if other != name])
                self._blame(name, "two_annotations", f"it could describe {shown(images[0])}, and so could {others}")
        if open_annotations:
            self.left_out.update(open_images)
        elif open_images:
            self._leave_out(open_images, *next(iter(sure.items())))

    def _given(self, annotation: str, images: Sequence[str]) -> str | None:
        """The one of the images that the annotation names."""
        given = self._image_names(annotation)
        found = [name for name in images if _base(name) in given]
        return found[0] if len(found) == 1 else None

    def _take(self, image: str, annotation: str) -> bool:
        """Assigns an image to an annotation; False if it is already assigned."""
        return self.owners.setdefault(image, annotation) is annotation

    def _leave_out(self, images: Iterable[str], annotation: str, meant: str) -> None:
        """Leaves out images that an annotation could also describe, although it describes another."""
        for name in images:
            if self._take(name, annotation):
                self.left_out.add(name)
                self._blame(name, "same_stem", f"{shown(annotation)} could be its annotation or that of {shown(meant)}")

    def _images(self, path: str) -> list[str]:
        """The images of a path without suffix."""
        return [name for name in self._of(path) if is_image(name)]

    def _of(self, path: str) -> list[str]:
        """The files of a path without suffix. They are together in the sorted list, so that no index is needed."""
        names, found = self._names, []
        at = bisect_left(names, f"{path}.")
        while at < len(names) and names[at].startswith(f"{path}."):
            if _stem(names[at]) == path:
                found.append(names[at])
            at += 1
        return found

    def _places(self, folder: str) -> list[str]:
        """The folders that may contain an annotation's image, the most likely first."""
        if folder == self._places_of[0]:
            return self._places_of[1]
        places = [folder]
        parts = folder.split("/")
        for index in reversed(range(len(parts))):
            if parts[index].lower() in ANNOTATION_FOLDERS:
                above, below = "/".join(parts[:index]), "/".join(parts[index + 1 :])
                for sibling in self._image_branches:
                    if _folder(sibling) == above and _base(sibling).lower() in IMAGE_FOLDERS:
                        places += [_joined(sibling, below), sibling]
                places.append(above)
        self._places_of = folder, list(dict.fromkeys(places))
        return self._places_of[1]

    def _blame(self, file: str, kind: Kind, reason: str) -> None:
        self.faults.append(Fault(shown(file), kind, reason))


def _levels(annotations: Sequence[str], images: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Numbers of folders that paths may share at their beginning and at their end, the most first."""
    if len(annotations) == len(images) == 1:
        parts = zip(*(_folder(name).split("/") for name in (*annotations, *images)), strict=False)
        yield sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1] != "", parts)), 0
        return
    depth = max(name.count("/") for name in (*annotations, *images))
    for lead in range(depth, -1, -1):
        for trail in range(depth - lead, -1, -1):
            yield lead, trail


def _place(name: str, lead: int, trail: int) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The first `lead` folders on a path and the last `trail` ones; None if it has fewer."""
    parts = name.split("/")[:-1]
    return (tuple(parts[:lead]), tuple(parts[len(parts) - trail :])) if lead + trail <= len(parts) else None


def _branches(names: Iterable[str]) -> list[str]:
    """All folders on the paths of files, sorted. A folder that directly contains a file is also listed with `//` after it."""
    folders = {_folder(name) for name in names}
    above = {folder[:at] for folder in folders for at, sign in enumerate(folder) if sign == "/"}
    return sorted(folders | above | {f"{folder}//" for folder in folders})


def _branch(name: str, lead: int) -> str:
    """The folder on a path below its first `lead` ones, or those with `//` after them if the file is directly in them."""
    folders = name.split("/")[:-1]
    return "/".join(folders[: lead + 1]) + ("//" if len(folders) == lead else "")


def _either(names: Sequence[str]) -> str:
    some = " or ".join(shown(name) for name in names[:2])
    return some if len(names) < 3 else f"{some} or {len(names) - 2} others"


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return stem if stem and "/" not in suffix else name


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name
