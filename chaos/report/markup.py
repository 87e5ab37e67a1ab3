"""Markup for the page. Whatever is put into it is escaped, unless `tag` made it."""

from __future__ import annotations

import html

EMPTY = frozenset({"circle", "line", "link", "meta", "path", "rect", "use"})
"""Elements that have no closing tag when nothing is in them."""

_CONTROLS = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), "�")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(element: str, /, *content: str, **attributes: str | float | None) -> Markup:
    """One element. `class_` is the attribute class and `stroke_width` is stroke-width; None leaves an attribute out.

    As in: tag("td", "a < b", class_="number")
    """
    opening = element + "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(_attribute(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in EMPTY and not content:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{join(content)}</{element}>")


def join(parts: tuple[str, ...] | list[str], by: str = "") -> Markup:
    """All parts in a row, each escaped unless it is markup."""
    return Markup(by.join(part if isinstance(part, Markup) else escaped(part) for part in parts))


def escaped(text: str) -> Markup:
    """The text as markup that shows it, fit for HTML and XML: what neither may hold is replaced."""
    sound = text.encode("utf-8", "replace").decode().translate(_CONTROLS)
    return Markup(html.escape(sound))


def _attribute(value: str | float) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
