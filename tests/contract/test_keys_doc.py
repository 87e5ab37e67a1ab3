"""docs/protocol.md is complete: it names every key of the key table."""

import re

from tests.contract.places import PACKAGE, ROOT
from tests.support.leaks import key_table


def test_the_key_table_is_read() -> None:
    text = (PACKAGE / "store" / "keys.py").read_text(encoding="utf-8")
    rows = key_table()
    assert len(rows) == len(re.findall(r"^\| `", text, re.MULTILINE))
    assert {row.type for row in rows} <= {"string", "list", "set", "zset", "hash"}
    assert "`lasting`" not in text  # a lifetime is a bare word


def test_the_protocol_names_every_key() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    missing = [row.name for row in key_table() if f"`{row.name}`" not in text]
    assert not missing


def test_the_protocol_names_every_script() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    missing = [path.stem for path in sorted((ROOT / "lua").glob("*.lua")) if f"`{path.stem}`" not in text]
    assert not missing
