"""Formulas as MathML, which browsers draw by themselves: written while the pages are built, no script, no network."""

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)


def mathml(node: nodes.Node, display: str) -> str:
    """The formula of a node; a command that the converter does not know is a warning, and so fails the build."""
    latex = " ".join(node.astext().split())
    found = convert(latex, display=display)
    if "\\" in found:
        LOGGER.warning("latex2mathml cannot write this formula: %s", latex, location=node)
    return found


def visit_math(self: HTML5Translator, node: nodes.Node) -> None:
    """A formula within a line."""
    self.body.append(f'<span class="math notranslate">{mathml(node, "inline")}</span>')
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.Node) -> None:
    """A formula of its own."""
    self.body.append(f'<div class="math notranslate">{mathml(node, "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls: ``html_math_renderer = "mathml"`` then chooses this renderer."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
