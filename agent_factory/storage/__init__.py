"""Large values by their digest: in S3, Google Cloud Storage, Azure, or a folder (S70)."""
