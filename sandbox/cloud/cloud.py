"""The pretend Google Cloud as a whole: one plaintext gRPC server on this machine."""

import grpc

from domain.ports import Clock
from sandbox.cloud.faults import Faults
from sandbox.cloud.journal import Journal
from sandbox.cloud.monitoring import Monitoring

HOST = "127.0.0.1"


class Cloud:
    """What ``TOBAN_GCP_ENDPOINT`` names in the demo and in tests. Started once, inside a running loop.

    ``clock`` decides which points exist and which of them are visible already; push it and there are more.
    """

    def __init__(self, clock: Clock) -> None:
        self.faults = Faults()
        self.journal = Journal()
        self.monitoring = Monitoring(clock, self.faults, self.journal)
        self._server: grpc.aio.Server | None = None
        self._port = 0

    @property
    def endpoint(self) -> str:
        """Host and port once started, such as 127.0.0.1:40123."""
        return f"{HOST}:{self._port}"

    async def start(self, port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises ``RuntimeError`` where the port is taken."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)])
        server.add_generic_rpc_handlers((self.monitoring.handler(),))
        self._port = server.add_insecure_port(f"{HOST}:{port}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Stop listening; calls on their way are cut."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
