"""The text of a PDF that was made with the readers' own fonts, without any library for it."""

import re
import zlib


def text_of(pdf: bytes) -> str:
    """Return everything that is written on the pages, piece by piece."""
    streams = re.findall(rb"FlateDecode[^>]*>>\s*stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    # What is compressed may end in a byte that looks like the end of a line, so its own end is what counts.
    drawn = b"\n".join(zlib.decompressobj().decompress(one) for one in streams)
    pieces = re.findall(rb"\(((?:\\.|[^\\()])*)\)\s*Tj", drawn)
    return " ".join(re.sub(rb"\\(.)", rb"\1", piece).decode("cp1252") for piece in pieces)
