"""Fetch, convert, quantise, judge and package the networks the eye runs."""
