"""What a job asks of the outside: mail, files, tokens. No clients; those are adapters."""
