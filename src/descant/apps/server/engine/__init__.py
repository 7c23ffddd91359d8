"""The engine: a process of its own with the model, so that the server survives whatever happens to it.

The server sends messages through the standard input of the process and reads its standard output. Both ends of this
pipe belong to the same version, so its messages are no public format.
"""
