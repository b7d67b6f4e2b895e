"""From label files to one packed store: files, rows, scan, store, and the cache of a scan."""
