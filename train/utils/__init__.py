"""Small tools of several parts of training: files, hashing, processes, progress, errors."""
