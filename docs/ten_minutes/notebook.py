"""The page ``ten_minutes.md`` as a notebook, with the scripts that it shows as cells that run.

python docs/ten_minutes/notebook.py    # writes docs/ten_minutes.ipynb
"""

import difflib
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

DOCS = Path(__file__).resolve().parents[1]
NOTEBOOK = DOCS / "ten_minutes.ipynb"
FENCE = re.compile(r"^```\{literalinclude\} (?P<file>\S+)\n(?::diff: (?P<before>\S+)\n|:language: python\n)```\n", re.M)
COMMAND = re.compile(r"^```bash\npython docs/ten_minutes/\w+\.py\n```\n", re.M)
IMPORTED = {"ten_minutes/teacher.py"}
"""Scripts that another one imports: their cells write them to a file, and run nothing."""


def script(name: str) -> str:
    """The text of a script."""
    return (DOCS / name).read_text("utf8")


def difference(before: str, after: str) -> str:
    """What is new in a script, as the page shows it."""
    lines = difflib.unified_diff(script(before).splitlines(), script(after).splitlines(), before, after, lineterm="")
    return "```diff\n" + "\n".join(lines) + "\n```"


def notebook() -> NotebookNode:
    """The cells, in the order of the page; the same text gives the same file."""
    page = COMMAND.sub("", (DOCS / "ten_minutes.md").read_text("utf8"))
    cells, end = [], 0
    for fence in FENCE.finditer(page):
        file, before = fence["file"], fence["before"]
        cells.append(v4.new_markdown_cell(page[end : fence.start()].strip()))
        if before:
            cells.append(v4.new_markdown_cell(difference(before, file)))
        write = f"%%writefile {Path(file).name}\n" if file in IMPORTED else ""
        cells.append(v4.new_code_cell(write + script(file).strip()))
        end = fence.end()
    cells.append(v4.new_markdown_cell(page[end:].strip()))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


if __name__ == "__main__":
    NOTEBOOK.write_text(nbformat.writes(notebook()) + "\n", "utf8")
