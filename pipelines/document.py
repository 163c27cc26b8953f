"""The tables of docs/reference/pipeline-parameters.md, from the forms: `python -m pipelines.document` writes them."""

import re
from pathlib import Path

from boxcar.kfp.form import FORMS, table
from boxcar.storage import replace_text

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "pipeline-parameters.md"


def document(text: str) -> str:
    """The page's text with the tables of the forms, each under the heading that is its pipeline's name."""
    for name, form in FORMS.items():
        text, found = re.subn(rf"(?s)(\n## {name}\n.*?\n)\| parameter .*?(\n\n|\Z)", rf"\g<1>{_escape(table(form))}\g<2>", text)
        assert found == 1, f"the page has no table under {name}"
    return text


def _escape(text: str) -> str:
    return text.rstrip("\n").replace("\\", "\\\\")


if __name__ == "__main__":
    replace_text(PAGE, document(PAGE.read_text(encoding="utf-8")))
