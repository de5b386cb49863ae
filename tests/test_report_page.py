"""The report in a browser: nothing of a record runs in it, and it can be used with a mouse, a keyboard and a phone."""

import os
import shutil
from pathlib import Path

import pytest
from report_cases import SCRIPT, arm, comparison, hostile_folder, row, written

from spikingjelly_ckd.recipes.report.found import find_studies
from spikingjelly_ckd.recipes.report.page import write_page

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; the extra [test] has it")
pytestmark = [pytest.mark.slow, pytest.mark.tools]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1100, "height": 900}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        own = Path(started.chromium.executable_path)
        path = own if own.exists() else next(filter(None, map(shutil.which, NAMES)), None)
        if path is None:
            pytest.skip("there is no Chromium: playwright install --with-deps chromium, or the system's own package")
        sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium starts for root without its sandbox alone
        try:
            opened = started.chromium.launch(executable_path=path, args=sandbox)
        except playwright.Error as error:
            pytest.skip(f"Chromium does not start here: {error.message.splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a page with an honest comparison, a row, and everything that somebody hostile wrote."""
    folder = tmp_path_factory.mktemp("report")
    comparison(folder / "honest")
    written(folder / "row/record.json", row())
    hostile_folder(folder / "hostile")
    return write_page(folder / "report.html", *find_studies([folder])).as_uri()


@pytest.fixture
def visit(browser, address):
    """Opens the page; what the browser complains of, and what it asks the network for, ends the test."""
    opened, complaints = [], []

    def at(viewport=DESK, **context):
        opened.append(browser.new_context(viewport=viewport, **context))
        page = opened[-1].new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append("a dialog opened"))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
        page.goto(address)
        return page

    yield at
    for context in opened:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_runs_and_everything_is_there(visit, scheme, viewport):
    page = visit(viewport, color_scheme=scheme)
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.scripts.length") == 1
    widths = page.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
    assert len(widths) >= 8
    assert all(widths)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert SCRIPT in page.inner_text("main")
    assert page.evaluate("[...document.links].every((link) => link.getAttribute('href').startsWith('#study-'))")


def test_the_table_sorts_by_click_and_by_key(visit):
    page = visit()
    honest = page.locator("article", has_text="Better than plain training: kd").first
    table = honest.locator("table").first

    def order():
        return table.locator("tbody th").all_inner_texts()

    assert order() == ["kd", "ckd", "plain"]
    head = table.locator("thead th", has_text="test minus plain")
    head.locator("button").click()
    assert (head.get_attribute("aria-sort"), order()) == ("descending", ["kd", "ckd", "plain"])
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert (head.get_attribute("aria-sort"), order()) == ("ascending", ["ckd", "kd", "plain"])  # nothing comes last
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")  # the head before it, test
    assert head.get_attribute("aria-sort") is None
    assert order() == ["kd", "ckd", "plain"]
    name = table.locator("thead th").first
    name.locator("button").click()
    assert (name.get_attribute("aria-sort"), order()) == ("ascending", ["ckd", "kd", "plain"])


def test_a_phone_shows_figures_and_tables_whole(visit):
    page = visit(PHONE)
    out_of_sight = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth)"
        ".map((one) => one.getAttribute('aria-label'))"
    )
    assert out_of_sight == []
    widths = page.evaluate("[...document.querySelectorAll('source + img')].map((image) => image.naturalWidth)")
    assert len(widths) >= 4
    assert max(widths) < 400, "the figures for a phone are drawn for its width"
    card = page.locator("article", has_text="Better than plain training: kd").first.locator("tbody tr").first
    heads = card.evaluate(
        "(row) => [...row.cells].slice(1).map((cell) => getComputedStyle(cell, '::after').content.slice(1, -1))"
    )
    assert {"seeds", "test", "told apart"} <= {*heads}
    card.locator("td", has_text="above").wait_for(state="visible")
    desk = visit().evaluate("[...document.querySelectorAll('source + img')].map((image) => image.naturalWidth)")
    assert min(desk) > 600


def test_tables_stay_tables_for_those_who_hear_them(visit):
    for viewport in (PHONE, DESK):
        table = visit(viewport).locator("article", has_text="Better than plain training: kd").first.get_by_role("table")
        assert table.first.get_by_role("row").count() == 4
        assert table.first.get_by_role("columnheader").count() >= 5
        assert table.first.get_by_role("rowheader").all_inner_texts() == ["kd", "ckd", "plain"]


def test_wide_parts_scroll_by_key_inside_the_page(browser, tmp_path):
    arm("kd", 0, 61.0).write(tmp_path / "records/kd.json")
    (tmp_path / "maps.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="900" height="90"/>')
    page = browser.new_page(viewport=PHONE)
    page.goto(write_page(tmp_path / "report.html", *find_studies([tmp_path])).as_uri())
    figure = page.locator("figure .scroll", has=page.locator("[alt^='maps.']"))
    figure.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(one) => one.scrollLeft > 0", arg=figure.element_handle())
    assert page.evaluate("scrollX") == 0


def test_the_schemes_and_the_print_differ(visit):
    def ground(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert ground(visit(color_scheme="light")) == "rgb(255, 255, 255)"
    dark = visit(color_scheme="dark")
    assert ground(dark) == "rgb(20, 23, 28)"
    dark.emulate_media(media="print", color_scheme="dark")
    assert ground(dark) == "rgb(255, 255, 255)"
    assert not dark.locator(".copy").first.is_visible()


def test_a_long_text_stays_in_its_place(visit):
    page = visit(PHONE)
    wide = page.evaluate(
        "[...document.querySelectorAll('main *')].filter((one) => !one.parentElement.closest('.scroll, pre')"
        " && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_a_note_stands_under_its_line_and_goes_with_it(browser, tmp_path):
    idle = {"history": [{"epoch": 1, "val_accuracy": 61.0, "share": 0.001}]}
    for name, score, more in (("kd", 61.0, idle), ("ckd", 60.0, {}), ("plain", 59.0, {})):
        arm(name, 0, score, **more).write(tmp_path / f"records/{name}.json")
    page = browser.new_page(viewport=DESK)
    page.goto(write_page(tmp_path / "report.html", *find_studies([tmp_path])).as_uri())
    table = page.locator("table").first

    def order():
        return [text.split("\t")[0].strip() for text in table.locator("tbody tr").all_inner_texts()]

    assert len(order()) == 4, order()
    assert "does not act" in order()[1]
    first = order()
    table.locator("thead th", has_text="arm").locator("button").click()
    assert order() == [first[2], first[0], first[1], first[3]]
    page.close()


BROKEN_WORDS = """[...document.querySelectorAll('pre')].flatMap((block) => {
  const words = [], nodes = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
  while (nodes.nextNode())
    for (const word of nodes.currentNode.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(nodes.currentNode, word.index);
      range.setEnd(nodes.currentNode, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((box) => box.top)).size > 1) words.push(word[0]);
    }
  return words;
})"""


def test_a_command_breaks_between_its_words_alone(browser, tmp_path):
    asked = "--data a-folder --methods kd ckd:beta=hold samd:weight=0.5 --seeds 0 1 2 --output-dir runs/a-long-name"
    command = f"python -m spikingjelly_ckd compare {asked} --teacher runs/{'deep/' * 30}teacher.safetensors --jobs 1"
    arm("kd", 0, 61.0, command=command).write(tmp_path / "records/kd.json")
    page = browser.new_page(viewport=DESK)
    page.goto(write_page(tmp_path / "report.html", *find_studies([tmp_path])).as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    blocks = page.locator("pre")
    assert blocks.count() == 2
    for width in range(320, 1300, 20):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(BROKEN_WORDS) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    copied = "(one) => { getSelection().selectAllChildren(one); return [getSelection().toString(), one.textContent]; }"
    assert blocks.last.evaluate(copied) == [command, command]
    assert len(blocks.first.evaluate(copied)[0].splitlines()) == 1
    page.set_viewport_size(PHONE)
    blocks.last.focus()
    page.keyboard.press("ArrowRight")  # a word that is longer than a line is read by scrolling
    page.wait_for_function("(one) => one.scrollLeft > 0", arg=blocks.last.element_handle())
    page.close()


@pytest.mark.parametrize("width", [400, 800, 1100, 1200, 1280, 1440])
def test_a_table_stays_between_the_edges_of_the_text(browser, tmp_path, width):
    values = {"method": {"text": "kd", "tuned": {"values": {"lr": 0.05, "weight": 2.31}, "trials": 20}}}
    begun = {"source": "runs/compare/teacher/teacher.safetensors", "fitted": 126, "tensors": 128, "accuracy": 11.0}
    for seed in range(2):
        for name, more in (("plain (tuned)", {}), ("kd:weight=0.5@init=teacher (tuned)", {"init": begun})):
            told = {"control": "plain (tuned)", "step_ms": 1053.2, "energy_mj": 0.0412345} | values | more
            arm(name, seed, 60.0 + seed, **told).write(tmp_path / f"records/{len(name)}_{seed}.json")
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(write_page(tmp_path / "report.html", *find_studies([tmp_path])).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    edges = "(one) => [one.getBoundingClientRect().left, one.getBoundingClientRect().right]"
    for table in page.locator("section > .scroll").all():
        assert table.evaluate(edges) == page.locator("section").first.evaluate(edges)
    whole = page.evaluate(
        "[...document.querySelectorAll('.scroll')].every((one) => one.scrollWidth <= one.clientWidth)"
    )
    assert whole or width == 800, "only where lines are no cards yet it scrolls, inside its own box"
    names = page.locator("tbody th", has_text="kd").first.evaluate("(one) => one.innerHTML")
    assert names == "kd:<wbr>weight=0.5@init=teacher (tuned)"
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 673, "height": 900})  # A4 within its margins
    assert page.evaluate("[...document.querySelectorAll('table')].every((one) => one.offsetWidth <= innerWidth)")
    page.close()
