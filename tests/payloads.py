"""Bodies as the senders write them."""

from sandbox.senders import alertmanager, monitoring, monitoring_test

__all__ = ["alertmanager", "monitoring", "monitoring_test"]
