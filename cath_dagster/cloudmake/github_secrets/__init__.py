"""Secrets of projects on their way to GitHub: where they come from, where they go, and what is known of each place."""
