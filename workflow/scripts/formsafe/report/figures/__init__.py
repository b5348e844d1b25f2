"""Figures: one function per figure, drawn from the tidy tables."""
