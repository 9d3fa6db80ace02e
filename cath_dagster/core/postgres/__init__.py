"""PostgreSQL's own: sessions, transactions, the catalogue, heaps. Nothing here knows of a job."""
