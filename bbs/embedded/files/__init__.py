"""The file server: static files, and uploads to a Cloud Controller."""
