"""The API under /api/v1, and what probes and Prometheus ask."""
