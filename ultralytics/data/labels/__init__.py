"""Label files, packed into one store: files, rows, scan, store, and the cache of a scan."""
