"""Migrations: plain numbered SQL files, applied in order, forward only."""
