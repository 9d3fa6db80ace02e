"""The schema of ours in a maintained database, its migrations, and the materialised views that we keep."""
