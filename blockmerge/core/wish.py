"""Where on the Hub a person wants a result."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wish:
    """`licence` None: the one that all models have; `card` None: the one that is made here."""

    repository: str
    licence: str | None = None
    is_public: bool = False
    as_pull_request: bool = False
    card: str | None = None
