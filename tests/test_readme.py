"""README and README_cn say the same: commands, code, tables, pictures, links, in the same order."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.tools

ROOT = Path(__file__).resolve().parents[1]
README, CHINESE = ((ROOT / name).read_text("utf8") for name in ("README.md", "README_cn.md"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def code(page):
    """(language, lines without comments) of each block."""
    blocks = FENCE.findall(page)
    return [(kind, [re.sub(r"\s+# .*$", "", line) for line in text.splitlines()]) for kind, text in blocks]


def rows(page):
    """The cells of every line of every table, but for those of the heads."""
    lines = re.findall(r"^\|.*\|$", page, re.M)
    rules = {number for number, line in enumerate(lines) if set(line) <= set("|- ")}
    return [line.strip("|").split("|") for number, line in enumerate(lines) if not {number, number + 1} & rules]


def numbers(text):
    return re.findall(r"[-+]?\d+(?:\.\d+)*", text)


def links(page):
    """Where links and pictures lead, without the other page and without headings of the page itself."""
    prose = FENCE.sub("", page)
    found = re.findall(r"\]\(([^()\s#]+)(?:#[^()\s]*)?\)", prose)
    return sorted({target for target in found if not target.startswith("README")})


def test_commands_and_code_are_the_same():
    assert code(CHINESE) == code(README)


def test_tables_have_the_same_figures():
    here, there = rows(README), rows(CHINESE)
    assert [len(row) for row in there] == [len(row) for row in here]
    assert [sorted(numbers(cell)) for row in there for cell in row] == [
        sorted(numbers(cell)) for row in here for cell in row
    ]


def test_links_and_pictures_are_the_same():
    assert links(CHINESE) == links(README)
    assert re.findall(r"!\[[^]]+\]\((.+?)\)", CHINESE) == re.findall(r"!\[[^]]+\]\((.+?)\)", README)


def test_sections_follow_each_other_alike():
    assert len(re.findall(r"^## ", CHINESE, re.M)) == len(re.findall(r"^## ", README, re.M))
    assert len(re.findall(r"^- \*\*", CHINESE, re.M)) == len(re.findall(r"^- \*\*", README, re.M))


@pytest.mark.parametrize("page", [README, CHINESE], ids=["README.md", "README_cn.md"])
def test_the_first_screen(page):
    """Before the first heading of a section: sentence, install, snippet, one picture, one table, ``compare``."""
    first = page[: page.index("\n## ")]
    marks = ["# spikingjelly-ckd", "pip install .", "from spikingjelly_ckd import", "![", "<!-- table: headline"]
    places = [first.index(mark) for mark in [*marks, "python -m spikingjelly_ckd compare --data digits"]]
    assert places == sorted(places)
    assert first.count("![") == first.count("<!-- table:") == 1


@pytest.mark.parametrize("page", [README, CHINESE], ids=["README.md", "README_cn.md"])
def test_the_table_is_narrow_and_has_the_teacher(page):
    table = re.search(r"<!-- table: headline\w* -->\n(.*?)<!-- end -->", page, re.S)[1].splitlines()
    assert len(table[0].strip("|").split("|")) <= 6
    assert "ANN" in table[0].split("|")[3]


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (
            "none of these methods is shown to be better than plain training with three",
            "表中没有哪种方法能被证明优于学习率乘以三",
        ),
        (
            "and of [14 more](docs/results.md#the-other-arms) one, EnOF",
            "[另外 14 种](docs/results.md#the-other-arms) 中只有 EnOF",
        ),
        ("not told apart from plain training with three times the learning rate", "与学习率乘以三的普通训练分不出高下"),
        (
            "below it with 2.6 times the updates in both of the two seeds",
            "更新次数增至 2.6 倍后，运行过的两个种子都低于它",
        ),
        ("no difference between CKD and plain training (beside 25 other arms)", "（同时比较的另有 25 个方案）"),
        ("No row of the paper's own tables was run", "论文自己的结果表中没有一行在此运行过"),
    ],
)
def test_the_caveats_stand_in_both(english, chinese):
    assert english in " ".join(README.split())
    assert chinese in " ".join(CHINESE.split())
