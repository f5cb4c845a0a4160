"""Finds the table of the scheduler `cinemo_fast`, and measures it against other schedules."""
