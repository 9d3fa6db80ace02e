"""Keep what is deleted for as long as it may be undone."""
