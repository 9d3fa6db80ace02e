"""What the services speak to, on loopback: stand-ins of providers that take what they are sent, and fail on demand."""
