"""The demo: a small app, a fake Gemini server, and the run that shows what the agent sees."""
