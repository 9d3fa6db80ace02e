"""Write a job that purges a table by age, as a maintainer would: its file, its table, its test, and what lists it."""
