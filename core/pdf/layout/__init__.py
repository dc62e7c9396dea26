"""Turns the words of a page, each with its box, into the text that a person reads there. Pure."""
