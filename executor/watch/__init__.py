"""Resource readings of containers (control groups, disk), and enforcement of their limits."""
