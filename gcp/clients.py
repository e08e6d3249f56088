"""One factory for Google's async clients: the real ones, or all of them on one local server."""

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.cloud.firestore_admin_v1.services.firestore_admin import FirestoreAdminAsyncClient
    from google.cloud.firestore_v1.services.firestore import FirestoreAsyncClient
    from google.cloud.monitoring_v3 import MetricServiceAsyncClient
    from google.cloud.run_v2 import RevisionsAsyncClient, ServicesAsyncClient
    from google.cloud.secretmanager_v1 import SecretManagerServiceAsyncClient

_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
"""As Google's own channels have them: a page of points may be larger than gRPC's 4 MB."""


class GcpClients:
    """Clients that are made when they are first asked for, since importing them takes 0.3 to 0.4 s.

    ``endpoint`` is host:port of a plaintext local stand-in; ``None`` means Google, with the
    environment's default credentials. Every client's method raises
    ``google.auth.exceptions.GoogleAuthError`` where there are no credentials.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint
        self._making = asyncio.Lock()
        self._channel: Any = None
        self._made: dict[str, Any] = {}

    async def metrics(self) -> "MetricServiceAsyncClient":
        """The client of Cloud Monitoring."""
        made: MetricServiceAsyncClient = await self._client(
            "google.cloud.monitoring_v3", "MetricServiceAsyncClient"
        )
        return made

    async def services(self) -> "ServicesAsyncClient":
        """The client of Cloud Run's services, and of the operations on them."""
        made: ServicesAsyncClient = await self._client("google.cloud.run_v2", "ServicesAsyncClient")
        return made

    async def revisions(self) -> "RevisionsAsyncClient":
        """The client of Cloud Run's revisions."""
        made: RevisionsAsyncClient = await self._client("google.cloud.run_v2", "RevisionsAsyncClient")
        return made

    async def firestore_admin(self) -> "FirestoreAdminAsyncClient":
        """The client of what is done to whole Firestore databases, and of the operations on them."""
        made: FirestoreAdminAsyncClient = await self._client(
            "google.cloud.firestore_admin_v1.services.firestore_admin", "FirestoreAdminAsyncClient"
        )
        return made

    async def firestore(self) -> "FirestoreAsyncClient":
        """The client of Firestore's documents."""
        made: FirestoreAsyncClient = await self._client(
            "google.cloud.firestore_v1.services.firestore", "FirestoreAsyncClient"
        )
        return made

    async def secrets(self) -> "SecretManagerServiceAsyncClient":
        """The client of Secret Manager."""
        made: SecretManagerServiceAsyncClient = await self._client(
            "google.cloud.secretmanager_v1", "SecretManagerServiceAsyncClient"
        )
        return made

    async def _client(self, module: str, name: str) -> Any:
        async with self._making:
            if name not in self._made:
                # Imports and the search for credentials block for long; other tasks go on meanwhile.
                kind = getattr(await asyncio.to_thread(importlib.import_module, module), name)
                self._made[name] = await self._make(kind)
            return self._made[name]

    async def _make(self, kind: Any) -> Any:
        transport = kind.get_transport_class("grpc_asyncio")
        if self._endpoint is None:
            return kind(credentials=await asyncio.to_thread(_credentials, transport.AUTH_SCOPES))
        return kind(transport=transport(channel=self._local(self._endpoint)))

    def _local(self, endpoint: str) -> Any:
        """The one channel to the stand-in, shared by all clients."""
        import grpc

        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
        return self._channel

    async def close(self) -> None:
        """Close what was opened; what is asked for after it opens anew."""
        async with self._making:
            while self._made:
                _, client = self._made.popitem()
                await client.transport.close()
            if self._channel is not None:
                await self._channel.close()
                self._channel = None


def _credentials(scopes: tuple[str, ...]) -> Any:
    import google.auth

    found, _ = google.auth.default(scopes=scopes)
    return found
