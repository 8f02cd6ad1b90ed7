"""The exchange's time as its WebSocket frames tell it. It costs nothing, and one frame may be wrong."""


class EventTime:
    """The event times of one process's frames."""

    def __init__(self) -> None:
        self.newest_ms = 0  # before there is any, both are 0
        self.first_ms = 0  # one of the first: the process was listening at that time

    def note(self, event_time_ms: int) -> None:
        """A frame was sent at this time of the exchange's."""
        self.newest_ms = max(self.newest_ms, event_time_ms)
        self.first_ms = self.first_ms or event_time_ms

    def correct(self, time_ms: int) -> None:
        """The newest event time was wrong: by the exchange's own clock it is no later than this."""
        self.newest_ms = min(self.newest_ms, time_ms)
