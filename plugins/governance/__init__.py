"""Wellbe's privacy policy, in operation."""
