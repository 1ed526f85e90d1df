"""What several files of tests share; this folder is where they find their helpers."""
