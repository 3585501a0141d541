"""aha: DeepSeek-R1 as software that people can run."""

__version__ = "0.1.0"
