"""Engines on several machines: replicas of Ray Serve, each of which has the model. Only this folder knows Ray."""
