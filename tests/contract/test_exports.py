"""What `reliq` offers is listed, sorted, importable and described."""

import reliq


def test_public_names_are_sorted_and_unique() -> None:
    assert reliq.__all__ == sorted(set(reliq.__all__))


def test_public_names_exist_and_have_docstrings() -> None:
    for name in reliq.__all__:
        value = getattr(reliq, name)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, f"reliq.{name} has no docstring"


def test_nothing_else_looks_public() -> None:
    modules = {name for name, value in vars(reliq).items() if getattr(value, "__name__", "") == f"reliq.{name}"}
    seen = {name for name in vars(reliq) if not name.startswith("_")} - modules - {"annotations"}
    assert seen <= set(reliq.__all__)
