"""Assets: downloads that are kept and revalidated, archives unpacked safely, uploads."""
