"""Assets: cached and revalidated downloads, safe unpacking of archives, uploads."""
