"""A pretend Google Cloud: the real clients talk to it over gRPC; its clock and its faults are ours."""
