"""Apps: from a folder or an image to running instances, in the shapes a Cloud Controller gives them."""
