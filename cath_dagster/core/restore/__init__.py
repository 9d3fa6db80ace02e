"""Put back what a run deleted."""
