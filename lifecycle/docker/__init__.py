"""Programs of apps that come from Docker images."""
