"""What all kinds of turn have in common."""

from abc import ABC, abstractmethod

from place import Place
from server import Server


class Kind(ABC):
    """What is done to a contestant in one turn."""

    #: Contestants stay up while they take turns; otherwise each turn starts and stops its own.
    side_by_side = True

    def prepare(self, server: Server, place: Place) -> None:
        """What is done once, while the contestant is up, before the first turn."""

    @abstractmethod
    def turn(self, server: Server, place: Place, seconds: float) -> dict[str, float]:
        """The figures of one turn, by the names that `report.FIGURES` explains."""
