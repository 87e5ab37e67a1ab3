"""Reads a report's page as a browser and as an XML parser would."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from html.parser import HTMLParser

VOID = {"meta"}
"""Elements of HTML that never have a closing tag."""

DOCTYPE = "<!DOCTYPE html>\n"


class _Balance(HTMLParser):
    """Fails at a closing tag that closes something else than what was opened last."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        assert tag in VOID or "svg" in self.open, f"HTML does not let <{tag}/> close itself"

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        opened = self.open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"


def read(page: str) -> ET.Element:
    """The page's root, after both parsers took every tag of it."""
    balance = _Balance()
    balance.feed(page)
    balance.close()
    assert balance.open == []
    assert page.startswith(DOCTYPE)
    return read_part(page.removeprefix(DOCTYPE))


def read_part(markup: str) -> ET.Element:
    """One element of a page."""
    return ET.fromstring(markup)  # noqa: S314 - it was made by the code under test, a moment ago


def text_of(element: ET.Element) -> str:
    """All its text."""
    return "".join(element.itertext())


def with_class(root: ET.Element, name: str) -> list[ET.Element]:
    """All elements of this class, in order."""
    return [element for element in root.iter() if name in (element.get("class") or "").split()]
