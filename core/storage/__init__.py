"""PDFs on disk or in a bucket, and rendered pages."""
