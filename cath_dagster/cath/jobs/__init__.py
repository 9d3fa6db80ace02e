"""One file a job: a function on plain inputs, and its SPEC."""
