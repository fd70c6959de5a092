"""Hostile tests: one module per kind of trouble an app, tenant, client or peer can make, on real parts."""
