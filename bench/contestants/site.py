"""What a contestant is told: what the scenario asks of it, and where the origin is."""

from dataclasses import dataclass
from pathlib import Path

from origin import Origin, Upstream


@dataclass(frozen=True)
class Setup:
    """What a scenario asks of every contestant."""

    #: Which of the origin's ports: `plain`, `tls`, or `closing` (TLS, closed after each answer).
    upstream: str = "plain"
    #: The app speaks HTTP/2, by prior knowledge.
    http2: bool = False
    #: Bodies are large: buffers and splicing may be set for that.
    bulk: bool = False
    #: The one target that the load asks for, where it is not a small answer's.
    path: str | None = None


@dataclass(frozen=True)
class Site:
    """A folder of its own for a contestant's files, and its surroundings."""

    folder: Path
    origin: Origin
    setup: Setup

    @property
    def upstream(self) -> Upstream:
        return getattr(self.origin, self.setup.upstream)

    def write(self, name: str, text: str) -> Path:
        """Writes a file that only its owner may read, as bearerd asks of secrets."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path
