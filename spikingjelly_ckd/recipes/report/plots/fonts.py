"""Chinese names in figures: matplotlib brings no font for them, so those of the machine are asked for."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.font_manager import fontManager

__all__ = ["CHINESE_FONTS", "installed_chinese_fonts", "undrawn_characters_said_once"]

CHINESE_FONTS: tuple[str, ...] = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
)
"""Fonts that draw Chinese characters, the first one that the machine has before the others."""
_UNDRAWN = re.compile(r"Glyph (\d+) .*missing from")


def installed_chinese_fonts() -> tuple[str, ...]:
    """Those of :data:`CHINESE_FONTS` that this machine has.

    Example:
        >>> set(installed_chinese_fonts()) <= set(CHINESE_FONTS)
        True
    """
    installed = {font.name for font in fontManager.ttflist}
    return tuple(name for name in CHINESE_FONTS if name in installed)


@contextmanager
def undrawn_characters_said_once() -> Iterator[None]:
    """One warning of all characters that no font draws, with what helps, in place of matplotlib's for each of them."""
    with warnings.catch_warnings(record=True) as said:
        warnings.filterwarnings("always", _UNDRAWN.pattern, UserWarning)
        yield
    undrawn = dict.fromkeys(chr(int(found[1])) for one in said if (found := _UNDRAWN.match(str(one.message))))
    for one in said:
        if not _UNDRAWN.match(str(one.message)):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno, source=one.source)
    if undrawn:
        text = f"no font of this machine draws {''.join(undrawn)}, so that a figure has boxes in their place"
        warnings.warn(f"{text}; for Chinese install {CHINESE_FONTS[0]}, or another font for it", stacklevel=4)


class _WeightsOfFallbacks(logging.Filter):
    """Leaves out that a font for Chinese has no bold face: a title with Chinese characters is then drawn without."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not (
            text.startswith("findfont: Failed to find font weight") and any(name in text for name in CHINESE_FONTS)
        )


logging.getLogger("matplotlib.font_manager").addFilter(_WeightsOfFallbacks())
