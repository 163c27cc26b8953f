"""Cron's five fields: minute, hour, day of the month, month, day of the week."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

# As Kubeflow and Kubernetes read them: Sunday is 0, and 7 is not a day.
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 6, {name: number for number, name in enumerate(_WEEKDAYS)}),
)


def check_cron(text: str) -> str:
    """The five fields, with one space between them.

    Raises:
        ValueError: if there are not five, one is invalid, or the day never comes. The message says which.
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        names = ", ".join(field[0] for field in _FIELDS)
        raise ValueError(f"it has {len(fields)} fields and needs five: {names}")
    _, _, days, months, _ = (_read(field, *_FIELDS[number]) for number, field in enumerate(fields))
    # If both days are given, one of them is enough.
    if fields[4] in ("*", "?") and min(days) > max(_MONTH_DAYS[month - 1] for month in months):
        raise ValueError(f"the months {fields[3]} have no day {fields[2]}, so it would never fire")
    return " ".join(fields)


def _read(field: str, name: str, low: int, high: int, words: dict[str, int]) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span in ("*", "?"):
            start, end = low, high
        else:
            start = _number(first, words)
            # 5/15 means from 5 on, every 15.
            end = _number(last, words) if dash else high if slash else start
        if not low <= start <= end <= high or (slash and not (step.isascii() and step.isdigit() and int(step))):
            raise ValueError(f"{part!r} is no {name}: write numbers from {low} to {high}, as in 5, 1-5, */2 or 1,3")
        found.update(range(start, end + 1, int(step) if slash else 1))
    return found


def _number(text: str, words: dict[str, int]) -> int:
    """A number or the number of a name; -1, which is out of every range, for anything else."""
    return int(text) if text.isascii() and text.isdigit() else words.get(text.lower(), -1)
