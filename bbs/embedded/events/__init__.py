"""The event bus of the control plane, and the notices that a transaction creates for it."""
