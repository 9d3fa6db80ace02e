"""What is declared and what is there, compared: one module for each source of either, one comparison for all."""
