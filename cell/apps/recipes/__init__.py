"""What the Cloud Controller makes of an app: staging Tasks and DesiredLRPs. Values in, models out."""
