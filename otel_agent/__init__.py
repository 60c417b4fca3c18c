"""otel-agent: observe an unmodified Python program.

`otel-agent python main.py` starts the program unchanged; see README.md. This package's modules run in three
processes: `supervisor` (the command), `worker` (inside the app) and `hub` (beside it).
"""

__version__ = "0.1.0"
