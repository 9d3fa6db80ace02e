"""The one door to what Dagster keeps private: only modules in here import it or reach for it. A new release is tried here.

A module a subject: Dagster's storages take as long to import as all the rest, and who asks for a tick needs none of them.
"""
