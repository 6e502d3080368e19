"""Which of a page's requests came last, as a slow answer to an earlier one would undo a later one's."""


class Turns:
    """One for each open page, used by the threads that answer its requests."""

    def __init__(self) -> None:
        self._last = object()

    def take(self) -> object:
        self._last = turn = object()
        return turn

    def is_last(self, turn: object) -> bool:
        return self._last is turn
