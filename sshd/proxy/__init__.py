"""``ssh-proxy``: authenticates users by password, finds their instance, and connects them to its daemon."""
