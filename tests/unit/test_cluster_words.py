"""The last line of a container, taken apart into what happened and what to do."""

import pytest

from boxcar.cluster.explain import last_words


@pytest.mark.parametrize(
    ("line", "what", "do"),
    [
        ("There is no folder /a.b/c. Name the folder.", "There is no folder /a.b/c.", "Name the folder."),
        ("It failed. Twice. Run `boxcar train` again.", "It failed. Twice.", "Run `boxcar train` again."),
        ("It is gone. `boxcar doctor` knows.", "It is gone.", "`boxcar doctor` knows."),
        ("No GPU. --gpus 0 trains on the processor.", "No GPU.", "--gpus 0 trains on the processor."),
    ],
)
def test_the_last_sentence_says_what_to_do(line: str, what: str, do: str) -> None:
    assert last_words({"message": f"Training: 3 of 4\n{line}\n\n"}) == (what, do)


def test_a_line_that_is_no_sentence_is_what_happened() -> None:
    words = last_words({"message": "Traceback (most recent call last):\nSegmentation fault"})
    assert words is not None and words[0] == "Segmentation fault" and "--resume" in words[1]


def test_a_container_that_wrote_nothing_said_nothing() -> None:
    assert last_words({"exitCode": 1}) is None
    assert last_words({"message": " \n"}) is None
