"""One factory for Google's async clients: the real ones, or all of them on one local server."""

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.cloud.monitoring_v3 import MetricServiceAsyncClient

_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
"""As Google's own channels have them: a page of points may be larger than gRPC's 4 MB."""


class GcpClients:
    """Clients that are made when they are first asked for, since importing them takes 0.3 to 0.4 s.

    ``endpoint`` is host:port of a plaintext local stand-in; ``None`` means Google, with the
    environment's default credentials.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint
        self._making = asyncio.Lock()
        self._channel: Any = None
        self._metrics: MetricServiceAsyncClient | None = None

    async def metrics(self) -> "MetricServiceAsyncClient":
        """The client of Cloud Monitoring.

        Raises ``google.auth.exceptions.GoogleAuthError`` where there are no credentials.
        """
        async with self._making:
            if self._metrics is None:
                # Imports and the search for credentials block for long; other tasks go on meanwhile.
                await asyncio.to_thread(_load_metrics)
                self._metrics = await self._make_metrics()
        return self._metrics

    async def _make_metrics(self) -> "MetricServiceAsyncClient":
        from google.cloud.monitoring_v3 import MetricServiceAsyncClient
        from google.cloud.monitoring_v3.services.metric_service.transports import (
            MetricServiceGrpcAsyncIOTransport,
        )

        if self._endpoint is None:
            credentials = await asyncio.to_thread(_credentials, MetricServiceGrpcAsyncIOTransport.AUTH_SCOPES)
            return MetricServiceAsyncClient(credentials=credentials)
        return MetricServiceAsyncClient(
            transport=MetricServiceGrpcAsyncIOTransport(channel=self._local(self._endpoint))
        )

    def _local(self, endpoint: str) -> Any:
        """The one channel to the stand-in, shared by all clients."""
        import grpc

        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
        return self._channel

    async def close(self) -> None:
        """Close what was opened; what is asked for after it opens anew."""
        async with self._making:
            if self._metrics is not None:
                await self._metrics.transport.close()  # type: ignore[no-untyped-call]
                self._metrics = None
            if self._channel is not None:
                await self._channel.close()
                self._channel = None


def _load_metrics() -> None:
    import google.cloud.monitoring_v3  # noqa: F401


def _credentials(scopes: tuple[str, ...]) -> Any:
    import google.auth

    found, _ = google.auth.default(scopes=scopes)
    return found
