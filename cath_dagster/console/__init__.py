"""What commands share, those that a service brings as well as our own: options, exit codes, output, and the way to a database."""
