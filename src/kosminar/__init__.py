"""Kosminar: an engine for loyalty milestones and streaks."""
