"""The HTTP service: jobs, clips and everything that the studio page needs. See `docs/protocol.md`."""
