"""The Locket service: locks and presences over gRPC."""
