"""Long-running work in child processes: start, messages, progress, cancel, resume, end."""
