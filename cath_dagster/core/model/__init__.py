"""What a job says, and what comes of it: plain values, no connection."""
