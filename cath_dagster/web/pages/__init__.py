"""The pages, rendered here; what is live in them is asked for by htmx."""
