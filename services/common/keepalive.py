"""How a connection that has died without a word is noticed: its other end is asked for a sign of life (gRFC A8).

A cut cable, a host that is gone or a process that is stopped sends no RST: without this, calls to it would wait for
their deadlines, and live sessions for ever.
"""

from dataclasses import dataclass

_MOST_OFTEN_S = 5.0
"""A client may ask an idle server so often whatever the server's own pace: less would refuse clients of other paces."""


@dataclass(frozen=True)
class Keepalive:
    """Seconds.

    Attributes:
        idle_s: of silence on a connection before its other end is asked.
        timeout_s: without an answer, until all calls on the connection fail as UNAVAILABLE.
    """

    idle_s: float = 10.0
    timeout_s: float = 5.0

    def of_client(self) -> tuple[tuple[str, int], ...]:
        """Options of a channel."""
        return (
            *self._shared(),
            # By default gRPC stops asking after two questions without data between them, where an answer may take
            # longer than that.
            ("grpc.http2.max_pings_without_data", 0),
        )

    def of_server(self) -> tuple[tuple[str, int], ...]:
        """Options of a server: it asks its clients, and lets them ask it."""
        return (
            *self._shared(),
            # The often copied `min_recv_ping_interval` does nothing.
            ("grpc.http2.min_ping_interval_without_data_ms", round(min(self.idle_s / 2, _MOST_OFTEN_S) * 1000)),
        )

    def _shared(self) -> tuple[tuple[str, int], ...]:
        return (
            ("grpc.keepalive_time_ms", round(self.idle_s * 1000)),
            ("grpc.keepalive_timeout_ms", round(self.timeout_s * 1000)),
            # gRPC also asks to measure the link, after data, and then does not ask a second time: that question counts
            # too. It would wait for a minute.
            ("grpc.http2.ping_timeout_ms", round(self.timeout_s * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
        )
