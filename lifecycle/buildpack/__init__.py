"""Programs of apps that come from buildpacks."""
