"""What the README says about speed, measured: ratios from one run, on the same work."""
