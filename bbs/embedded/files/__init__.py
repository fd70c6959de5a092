"""The file server: static files, and uploads on their way to a Cloud Controller."""
