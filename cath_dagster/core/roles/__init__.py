"""What a database role needs, is given, and has."""
