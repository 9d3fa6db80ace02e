"""Kill every job at random instants, run it again, and hold what is left against what an undisturbed run leaves."""
