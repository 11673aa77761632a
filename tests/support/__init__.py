"""Images, datasets and programs that several tests make use of."""
