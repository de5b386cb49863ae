"""The scripts in the page ``ten_minutes.md``, and the page as a notebook with the scripts as cells that run.

python docs/ten_minutes/notebook.py    # writes both into docs
"""

import difflib
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

DOCS = Path(__file__).resolve().parents[1]
PAGE = DOCS / "ten_minutes.md"
NOTEBOOK = DOCS / "ten_minutes.ipynb"
PLACE = re.compile(
    r"^<!-- script: (?P<file>\S+?)(?:, beside (?P<before>\S+))? -->\n(?P<block>.*?)<!-- end -->\n", re.M | re.S
)
"""Where the page shows a script, or what is new in it beside another one."""
COMMAND = re.compile(r"^```bash\npython docs/ten_minutes/\w+\.py\n```\n", re.M)
IMPORTED = {"ten_minutes/teacher.py"}
"""Scripts that another one imports: their cells write them to a file, and run nothing."""


def script(name: str) -> str:
    """The text of a script."""
    return (DOCS / name).read_text("utf8")


def difference(before: str, after: str) -> str:
    """What is new in a script, as the page shows it."""
    lines = difflib.unified_diff(script(before).splitlines(), script(after).splitlines(), before, after, lineterm="")
    return "```diff\n" + "\n".join(lines) + "\n```\n"


def page() -> str:
    """The page with the scripts as they are now. Their blocks are ``py``: they run as files, see the tests."""

    def filled(place: re.Match[str]) -> str:
        file, before = place["file"], place["before"]
        block = difference(before, file) if before else f"```py\n{script(file)}```\n"
        return place[0].removesuffix(f"{place['block']}<!-- end -->\n") + f"{block}<!-- end -->\n"

    return PLACE.sub(filled, PAGE.read_text("utf8"))


def notebook() -> NotebookNode:
    """The cells, in the order of the page; the same text gives the same file."""
    text = COMMAND.sub("", page())
    cells, end = [], 0
    for place in PLACE.finditer(text):
        file = place["file"]
        cells.append(v4.new_markdown_cell(text[end : place.start()].strip()))
        if place["before"]:
            cells.append(v4.new_markdown_cell(place["block"].strip()))
        write = f"%%writefile {Path(file).name}\n" if file in IMPORTED else ""
        cells.append(v4.new_code_cell(write + script(file).strip()))
        end = place.end()
    cells.append(v4.new_markdown_cell(text[end:].strip()))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


if __name__ == "__main__":
    PAGE.write_text(page(), "utf8")
    NOTEBOOK.write_text(nbformat.writes(notebook()) + "\n", "utf8")
