"""No proxy at all: what the others add to."""

from contestants.site import Site
from server import Server


class Direct(Server):
    """The origin, which runs already; its CPU time is the origin's."""

    def __init__(self, label: str, site: Site) -> None:
        super().__init__(label, site.origin.command, site.origin.port, header=site.origin.header)
        self._origin = site.origin

    def start(self, *_, **__) -> None:
        self.process = self._origin.process

    def stop(self) -> None:
        self.process = None
