"""Notices: facts worded as the published notifications. One file for each subject."""
