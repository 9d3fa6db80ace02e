"""All mutants."""

from benchmarks.mutations import core, operators, restoring, services

MUTANTS = (*core.MUTANTS, *restoring.MUTANTS, *services.MUTANTS, *operators.MUTANTS)
