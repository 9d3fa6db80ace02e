"""The sample of Hay."""
