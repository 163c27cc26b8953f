"""Names of rows and columns that are not classes, in tables of classes."""

from collections.abc import Collection


def own_name(word: str, classes: Collection[str]) -> str:
    """A word of ours for a row among classes, in parentheses if a class has that name: `background`, `(background)`."""
    while word in classes:
        word = f"({word})"
    return word
