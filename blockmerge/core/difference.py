"""How far two models are apart, as numbers."""

from dataclasses import dataclass


@dataclass(slots=True)
class Sums:
    """Σ a², Σ b², Σ ab and Σ (a − b)² over some elements."""

    a: float = 0.0
    b: float = 0.0
    ab: float = 0.0
    apart: float = 0.0

    def add(self, other: "Sums") -> None:
        self.a += other.a
        self.b += other.b
        self.ab += other.ab
        self.apart += other.apart

    @property
    def distance(self) -> float | None:
        """‖A − B‖ / ‖A‖; None where A is all zeros."""
        return (self.apart / self.a) ** 0.5 if self.a else None

    @property
    def cosine(self) -> float | None:
        """None where one of the two is all zeros."""
        return self.ab / (self.a * self.b) ** 0.5 if self.a and self.b else None


@dataclass(frozen=True, slots=True)
class BlockDifference:
    """One module of one layer, or one row. `distance` and `cosine` as in Sums."""

    stack: str | None
    layer: int | None
    module: str
    elements: int
    distance: float | None
    cosine: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """`blocks` in the order of the file; `distance` and `cosine` are over all of them."""

    blocks: tuple[BlockDifference, ...]
    distance: float | None
    cosine: float | None
    notes: tuple[str, ...]
