"""Folders of clips, by any system, as numbers: each with its interval, its embedder and what it leaves out."""
