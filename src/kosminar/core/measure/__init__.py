"""What of an activity a target counts: a file for each measure."""
