"""Apps: from a folder or an image to running instances, in the forms of a Cloud Controller."""
