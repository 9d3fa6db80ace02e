"""For people: the command `cath-dagster`."""
