"""What the cell reports about itself and its apps: meters and metrics."""
