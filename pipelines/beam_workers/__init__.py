"""Worker processes of portable Beam runners: a pool service and the SDK harness that it starts."""
