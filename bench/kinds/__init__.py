"""The kinds of turn: what is done to a contestant in one, and which figures come of it."""

from kinds.bulk import Bulk
from kinds.closed import Closed, Http2
from kinds.counted import Counted
from kinds.kind import Kind
from kinds.memory import Memory
from kinds.paced import Paced
from kinds.start import Start

__all__ = ["Bulk", "Closed", "Counted", "Http2", "Kind", "Memory", "Paced", "Start"]
