from pathlib import Path

from blockmerge.core.method_table import method_table
from blockmerge.core.methods import METHODS

DOCS = (Path(__file__).parents[2] / "docs" / "methods.md").read_text("utf-8")


def test_the_page_of_methods_holds_the_table_made_from_their_entries() -> None:
    assert DOCS.endswith(method_table())


def test_every_method_says_where_its_formula_is_from() -> None:
    assert [name for name, method in METHODS.items() if not method.source or not method.description] == []
