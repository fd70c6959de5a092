"""The event bus of the control plane, and the notices that a transaction makes for it."""
