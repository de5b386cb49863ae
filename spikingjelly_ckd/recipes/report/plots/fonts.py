"""Chinese names in figures: matplotlib brings no font for them, so those of the machine are asked for."""

from __future__ import annotations

import logging

from matplotlib.font_manager import fontManager

__all__ = ["CHINESE_FONTS", "installed_chinese_fonts"]

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


def installed_chinese_fonts() -> tuple[str, ...]:
    """Those of :data:`CHINESE_FONTS` that this machine has.

    Example:
        >>> set(installed_chinese_fonts()) <= set(CHINESE_FONTS)
        True
    """
    installed = {font.name for font in fontManager.ttflist}
    return tuple(name for name in CHINESE_FONTS if name in installed)


class _WeightsOfFallbacks(logging.Filter):
    """Leaves out that a font for Chinese has no bold face: a title with Chinese characters is then drawn without."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not (
            text.startswith("findfont: Failed to find font weight") and any(name in text for name in CHINESE_FONTS)
        )


logging.getLogger("matplotlib.font_manager").addFilter(_WeightsOfFallbacks())
