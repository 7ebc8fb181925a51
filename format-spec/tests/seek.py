"""Reads a trace with pyzstd's SeekableZstdFile, at many offsets, against the whole decompressed trace.

usage: seek.py TRACE; exit 0: every read agrees, 1: one does not, 77: no pyzstd here.
"""

import sys

try:
    import pyzstd
except ImportError:
    sys.exit(77)

with open(sys.argv[1], "rb") as file:
    whole = pyzstd.decompress(file.read())
with pyzstd.SeekableZstdFile(sys.argv[1], "r") as seekable:
    size = seekable.seek(0, 2)
    if size != len(whole):
        sys.exit(f"seek table says {size} bytes, there are {len(whole)}")
    step = max(1, len(whole) // 97)
    for offset in [*range(len(whole) - 1, -1, -step), 0, len(whole)]:
        seekable.seek(offset)
        if seekable.read(1000) != whole[offset : offset + 1000]:
            sys.exit(f"read at {offset} differs")
