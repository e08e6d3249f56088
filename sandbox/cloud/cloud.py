"""The pretend Google Cloud as a whole: one plaintext gRPC server and one HTTP server on this machine."""

import grpc

from domain.ports import Clock
from sandbox.cloud.faults import Faults
from sandbox.cloud.firestore import Firestore
from sandbox.cloud.firestore_calls import FirestoreCalls
from sandbox.cloud.images import Images
from sandbox.cloud.journal import Journal
from sandbox.cloud.monitoring import Monitoring
from sandbox.cloud.run_calls import RunCalls
from sandbox.cloud.running import Running
from sandbox.cloud.secrets import Secrets
from sandbox.cloud.web import Web

HOST = "127.0.0.1"


class Cloud:
    """What ``TOBAN_GCP_ENDPOINT`` names in the demo and in tests. Started once, inside a running loop.

    ``clock`` decides which points exist and which of them are visible already, and which operations are over;
    push it and there are more. ``images`` is what Cloud Run can run.
    """

    def __init__(self, clock: Clock) -> None:
        self.faults = Faults()
        self.journal = Journal()
        self.monitoring = Monitoring(clock, self.faults, self.journal)
        self.images = Images()
        self.run = Running(clock, self.images, self.monitoring)
        self._run_calls = RunCalls(self.run, self.faults, self.journal)
        self.firestore = Firestore(clock)
        self._firestore_calls = FirestoreCalls(self.firestore, self.faults, self.journal)
        self.web = Web(
            self.images,
            clock,
            self.journal,
            self.faults,
            audience=self.run.audience,
            behaviour=self.run.behaviour,
            is_internal=self.run.is_internal,
        )
        self.sql = self.web.sql
        self.secrets = Secrets(clock, self.faults, self.journal)
        self._server: grpc.aio.Server | None = None
        self._port = 0

    @property
    def endpoint(self) -> str:
        """Host and port once started, such as 127.0.0.1:40123."""
        return f"{HOST}:{self._port}"

    @property
    def http_endpoint(self) -> str:
        """Of its HTTP half, once started, such as http://127.0.0.1:40124."""
        return self.web.base

    async def start(self, port: int = 0, http_port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises ``RuntimeError`` or ``OSError`` where one is taken."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)])
        run = self._run_calls.handlers()
        firestore = self._firestore_calls.handlers(run)
        server.add_generic_rpc_handlers((self.monitoring.handler(), self.secrets.handler(), *firestore, *run))
        self._port = server.add_insecure_port(f"{HOST}:{port}")
        await server.start()
        self._server = server
        await self.web.start(http_port)
        self.run.http_base = self.web.base

    async def stop(self) -> None:
        """Stop listening; calls on their way are cut."""
        await self.web.stop()
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
