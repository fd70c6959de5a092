"""Recipes of the Cloud Controller: staging Tasks and DesiredLRPs of an app. Values in, models out."""
