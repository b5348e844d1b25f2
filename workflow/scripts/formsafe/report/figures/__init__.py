"""Figures: one function a figure, drawn from the tidy tables."""
