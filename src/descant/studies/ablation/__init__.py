"""Ablations: rows that differ in one choice, trained on the same data with the same budget and judged alike.

A recipe (``recipes/ablations/``) names the rows; each is a function that returns an ``AblationRun``.
"""
