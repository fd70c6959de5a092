"""``ssh-proxy``: lets users in by password, finds their instance, and splices them to the daemon in it."""
