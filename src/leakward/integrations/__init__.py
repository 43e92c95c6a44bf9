"""Leakward inside the engines that hospitals run: thin layers between an engine's messages and a defence."""
