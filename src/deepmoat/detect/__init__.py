"""Detect: statements over the logs and pure judgements on what they give."""
