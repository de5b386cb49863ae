"""A difference that a page includes names its files as the page does, not where they lay when it was built."""

from docutils import nodes
from sphinx.application import Sphinx


def shorten(app: Sphinx, doctree: nodes.document) -> None:
    """Sphinx writes whole paths at the head of a difference."""
    for block in doctree.findall(nodes.literal_block):
        if block.get("language") == "udiff":
            text = block.astext().replace(f"{app.srcdir}/", "")
            block[:] = [nodes.Text(text)]
            block.rawsource = text


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("doctree-read", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
