"""Parts of `cell dev`: slots, certificates, root filesystems, the bundle, endpoints, the log board."""
