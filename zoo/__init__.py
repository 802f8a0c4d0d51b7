"""Other people's models: their files, networks and settings, as runs of fewstep."""
