"""The choice of classes, as `classes` gives it: which are kept, under which names, and which are dropped.

Worker processes import this module, so it needs the standard library only.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# A name is in double quotes if it begins with a minus sign or holds an equals sign.
_NAME = r'(?:"(?P<{0}_quoted>[^"]+)"|(?P<{0}>[^"=\s-][^=]*?))'
_WORD = re.compile(rf"\s*(?P<drops>-)?\s*{_NAME.format('old')}\s*(?:(?P<renames>=)\s*{_NAME.format('new')}\s*)?", re.DOTALL)


@dataclass(frozen=True)
class ClassChoice:
    """Which classes are used.

    Attributes:
        names: of each class that the choice mentions, the name that its objects get; None if they are dropped.
        others: whether the classes that it does not mention are kept.
    """

    names: Mapping[str, str | None]
    others: bool

    def name_of(self, name: str) -> str | None:
        """The name that objects of a class get; None if they are dropped."""
        return self.names.get(name, name if self.others else None)

    def applied_to(self, labels: Mapping[int, str]) -> dict[int, str]:
        """A label map of the chosen classes. Of classes that become one, the lowest id is kept."""
        chosen: dict[int, str] = {}
        for number in sorted(labels):
            name = self.name_of(labels[number])
            if name is not None and name not in chosen.values():
                chosen[number] = name
        return chosen


def class_choice(words: Iterable[str]) -> ClassChoice:
    """The choice that words give: `name` keeps a class, `old=new` renames it or merges it with another, `-name` drops it.

    If a word keeps or renames a class, all classes that are not mentioned are dropped; else they are kept.

    Raises:
        ValueError: if there is no word, a word is none of these, or two words are about the same class.
    """
    names: dict[str, str | None] = {}
    for word in words:
        match = _WORD.fullmatch(word)
        if match is None or (match["drops"] and match["renames"]):
            raise ValueError(
                f"Write NAME, OLD=NEW, or -NAME instead of {word!r}, with names that have = or begin with - in double quotes"
            )
        old = match["old_quoted"] or match["old"]
        if old in names:
            raise ValueError(f"The class {old} is mentioned twice")
        names[old] = None if match["drops"] else match["new_quoted"] or match["new"] or old
    if not names:
        raise ValueError("Name at least one class")
    return ClassChoice(names, others=all(name is None for name in names.values()))
