"""Checks and describes a folder of music before training: ``descant data check`` and ``descant data caption``."""
