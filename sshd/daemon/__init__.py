"""What serves the connections of ``diego-sshd``: a process that lives while there are any."""
