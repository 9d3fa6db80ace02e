"""What goes wrong anywhere in the instance, one module a question; each returns alerts and where it has come to."""
