"""Draws images and writes files: photographs, TIFFs, colour profiles, broken files and graphs."""
