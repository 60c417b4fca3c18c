"""Real peers for tests: an OTLP receiver in a thread of the test process, a collector as a child process."""
