"""What people use today for a backfill, each as a program: PEER FILE.parquet ENDPOINT."""
