"""Where the bytes of a source come from: which files there are, their bytes, unpacked and verified, and their stamps.

Nothing here knows of formats.
"""
