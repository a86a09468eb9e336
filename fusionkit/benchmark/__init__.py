"""Benchmarks: methods x data sets x tasks, in one table that anybody can make again."""
