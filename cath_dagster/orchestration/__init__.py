"""From a job's specification to Dagster's definitions. The only shared package that imports Dagster."""
