"""A pretend Google Cloud: the real clients talk to it over gRPC, and its clock and faults are ours to choose."""
