"""What moves: the writer, the closer, the importer, the auditor and the clocks."""
