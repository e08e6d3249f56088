"""A pretend Google Cloud: the real clients talk to it over gRPC, its clock can be pushed, its faults are on demand."""
