"""Readers and writers of data that other programs left."""
