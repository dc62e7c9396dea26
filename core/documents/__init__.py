"""Documents, their jobs, uploads and ingestion."""
