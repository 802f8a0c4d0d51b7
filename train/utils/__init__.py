"""Utilities: files, hashing, processes, progress messages, errors."""
