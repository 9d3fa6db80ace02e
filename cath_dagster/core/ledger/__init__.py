"""What every run did to every table, kept when the run is long gone."""
