"""Comparing this implementation with recorded results of the released one (``alpamayo verify``)."""
