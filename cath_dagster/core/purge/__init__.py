"""Delete or change rows: every one that matches and no other, in short transactions."""
