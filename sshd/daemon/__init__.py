"""The worker process of ``diego-sshd``: serves connections and exits after the last one."""
