"""From the bytes of a text file to its characters, whatever wrote them, with a word on what was not as expected."""

from __future__ import annotations

import codecs

from chainrule.errors import InputError

BOMS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
LOOKED_AT = 1 << 16  # bytes that tell a text from other content
MOST_CONTROLS = 0.02  # share of control characters from which on content is no text
NULS_OF_UTF16 = 0.4  # share of zero bytes in one half of the places, which Latin letters as UTF-16 have
FEW_BROKEN = 0.02  # broken places per byte beyond ASCII up to which a text is UTF-8 with damage
ALLOWED = b"\t\n\v\f\r\x1b\0"  # control characters that texts hold; zero bytes are judged by themselves


def decode_text(content: bytes, name: str = "the text") -> tuple[str, tuple[str, ...]]:
    """The characters, and what a person should hear: another encoding than UTF-8, what was replaced or left out.

    UTF-8, UTF-16 and UTF-32 (by their marks), UTF-16 without one, and Windows-1252 for what is none of these. A few
    broken bytes in UTF-8 become U+FFFD. Zero bytes are left out.

    Raises:
        InputError: the content is no text.

    Example:
        >>> decode_text("naïve".encode("latin-1"))
        ('naïve', ('the text is not UTF-8; it was read as Windows-1252',))
    """
    encoding = next((found for mark, found in BOMS if content.startswith(mark)), "") or _utf16_without_mark(content)
    if encoding.startswith(("utf-16", "utf-32")):
        text = content.decode(encoding, "replace")
        notes = [f"{name} is not UTF-8; it was read as {encoding.upper()}", *_replaced(text.count("\ufffd"), name)]
    else:
        _refuse_binary(content[:LOOKED_AT], name)
        text, notes = _by_bytes(content, name)
    zeros = text.count("\0")
    if zeros:
        notes.append(f"{zeros:,} zero bytes in {name} were left out")
        text = text.replace("\0", "")
    return text, tuple(notes)


def _utf16_without_mark(content: bytes) -> str:
    head = content[:LOOKED_AT]
    half = len(head) // 2
    if half < 8:
        return ""
    first, second = (head[start::2].count(0) / half for start in (0, 1))
    if max(first, second) < NULS_OF_UTF16 or min(first, second) > 0.05:
        return ""
    return "utf-16-le" if second > first else "utf-16-be"


def _refuse_binary(head: bytes, name: str) -> None:
    controls = sum(head.count(code) for code in range(32) if code not in ALLOWED)
    if controls > MOST_CONTROLS * len(head) or head.count(0) > 0.3 * len(head) > 0:
        found = f"{controls + head.count(0):,} of its first {len(head):,} bytes are control characters"
        raise InputError(f"{name} is no text: {found}; give a plain text file")


def _by_bytes(content: bytes, name: str) -> tuple[str, list[str]]:
    """UTF-8, with U+FFFD for few broken places; Windows-1252 where it is not UTF-8 at all."""
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        pass
    text = content.decode("utf-8-sig", "replace")
    broken = text.count("\ufffd") - content.count("\ufffd".encode())
    beyond = len(content.translate(None, bytes(range(128))))
    if broken <= FEW_BROKEN * beyond:
        return text, _replaced(broken, name)
    note = [f"{name} is not UTF-8; it was read as Windows-1252"]
    try:
        return content.decode("cp1252"), note
    except UnicodeDecodeError:
        return content.decode("latin-1"), note


def _replaced(broken: int, name: str) -> list[str]:
    return [f"{broken:,} broken places in {name} were replaced by U+FFFD"] if broken else []
