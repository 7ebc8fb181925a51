#!/usr/bin/env python3
"""Reads a Trailcam trace with nothing but SPEC.md, whose tables it reads too: an independent second reader.

usage: reader.py TRACE…     files, or - for standard input

Prints what the trace stores as JSON lines, the same bytes as `replay cat --raw` (SPEC.md §JSON):
chunk by chunk its header, its context records and its events in order, and last what is wrong.
Exit status: 0 whole, 1 no trace, 2 usage, 3 unfinished, damaged, or the recorder dropped events.

Needs Python 3.8 or later and the package zstandard; BLAKE3 is written out below, so that nothing has to
be believed. The sections are those of SPEC.md; whatever a trace claims is checked before it is used.
"""

import json
import mmap
import pathlib
import re
import shutil
import struct
import sys
import tempfile
from itertools import accumulate, islice

import zstandard

# §Frame header

FRAME_MAGIC = 0x184D2A54
MARKER = bytes.fromhex("54726c63616d8f1dc207e9b4fffec0f5")
MAJOR = 1
KIND_CHUNK, KIND_SUMMARY = 1, 2
FIXED_BYTES = 120
HASH_BYTES = 32
FIXED = struct.Struct("<16sHHB3xIIII16sQQQQ32s")

# §Seek table

SEEK_TABLE_MAGIC = 0x184D2A5E
SEEKABLE_MAGIC = 0x8F92EAB1

# The tables of SPEC.md, which stands beside this file: nothing of them is repeated here.

PAGE = (pathlib.Path(__file__).parent / "SPEC.md").read_text(encoding="utf-8")


def tables(mark):
    """(rest of the mark, rows of cells) of every table behind a comment that begins so."""
    for match in re.finditer(r"<!-- %s(.*?) -->\n((?:\|.*\n)+)" % mark, PAGE):
        rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in match[2].splitlines()]
        yield match[1].strip(), rows[2:]


def split(text):
    """Parts between commas that are in no bracket."""
    depth, parts = 0, [""]
    for char in text:
        depth += (char in "{([") - (char in "})]")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def parse(kind):
    """A type as the page writes it: a name, ("list", type), ("struct", [(name, type)]), ("tuple", [type])
    or ("enum", [name])."""
    if kind.startswith("list of "):
        return "list", parse(kind[8:])
    if kind.startswith("{"):
        return parse_fields(kind[1:-1])
    if kind.startswith("("):
        return "tuple", [parse(each) for each in split(kind[1:-1])]
    if kind.startswith("enum("):
        return "enum", split(kind[5:-1])
    return kind


def parse_fields(text):
    fields = [] if text == "–" else [field.split(" ", 1) for field in split(text)]
    return "struct", [(name, parse(kind)) for name, kind in fields]


def zero(kind):
    """What an appended field is in a record that ends before it."""
    if isinstance(kind, str):
        return "" if kind in ("string", "bytes") else False if kind == "bool" else 0
    form, of = kind
    return {name: zero(each) for name, each in of} if form == "struct" else []


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


LIMITS = {row[0]: int(row[1]) for _, rows in tables("limits") for row in rows}
# Columns are (id, name, type, encoding).
COLUMNS = {title: [(int(row[0]), *row[1:4]) for row in rows] for title, rows in tables("columns: ")}
COMMON = [column for column in COLUMNS.pop("common") if column[3] != "sequence"]
FAMILIES = {int(title.split()[0]): (title.split()[1], columns) for title, columns in COLUMNS.items()}
TYPES = {int(row[1]): row[0] for _, rows in tables("declared types") for row in rows}
ENCODINGS = {int(row[0]): row[1] for _, rows in tables("encodings") for row in rows}
ENCODING_NUMBERS = {name.split()[0] + " by" * (" by " in name): number for number, name in ENCODINGS.items()}
CONTEXT = {int(row[0]): (snake(row[1]), parse_fields(row[2])) for _, rows in tables("context") for row in rows}
INDEX_ENTRY = "struct", [(row[0], row[1]) for _, rows in tables("index entry") for row in rows]
PARTS = {
    "chunk": {row[1]: (int(row[0]), parse(row[2])) for _, rows in tables("parts of a chunk") for row in rows},
    "summary": {row[1]: (int(row[0]), parse(row[2])) for _, rows in tables("parts of a summary") for row in rows},
}
DECLARED_MIN = 1024
# Columns of exit that say nothing where usage_known is 0.
USAGE = ("user_ns", "system_ns", "max_rss_bytes", "minor_faults", "major_faults")
DECLARED_ENCODINGS = (0, 1, 2)
EVENT_TYPE = "event_type"
LISTS_MAX = {"kinds": "KINDS_MAX", "sequences": "SEQUENCES_MAX", "processes": "PROCESSES_MAX", "index": "INDEX_CHUNKS_MAX"}

MASK = (1 << 64) - 1
UNSIGNED = {"u8": 1 << 8, "u16": 1 << 16, "u32": 1 << 32, "u64": 1 << 64, "bool": 2}
SIGNED = {"i32": 1 << 31, "i64": 1 << 63}
INTEGERS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "i64": "<q"}


class Malformed(Exception):
    """A chunk whose hash is right and whose content contradicts SPEC.md."""


class Damaged(Exception):
    """Bytes that are no frame of a trace, or a frame that fails its checks."""

    name = "damaged"


class Truncated(Damaged):
    """A frame that the input ends inside of."""

    name = "truncated"


class NoSummary(Damaged):
    """A summary that the input ends inside of: nothing but the overview is lost."""

    name = "no_summary"


class NoSeekTable(Damaged):
    """A seek table that is cut, or not the one that the summary's index says."""

    name = "no_seek_table"


class NoTrace(Exception):
    """Nothing can be read; args[0] is the JSON to print."""


def need(condition, *what):
    if not condition:
        raise Malformed(" ".join(map(str, what)))


# BLAKE3, from its paper: 64-byte blocks, 1024-byte chunks, a binary tree over the chunks.

B3_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
B3_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
B3_CHUNK_START, B3_CHUNK_END, B3_PARENT, B3_ROOT = 1, 2, 4, 8
B3_MIX = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
          (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
B3_ORDER = list(accumulate(range(6), lambda order, _: tuple(order[i] for i in B3_PERMUTATION),
                           initial=tuple(range(16))))


def blake3_compress(chaining, block, counter, length, flags):
    words = struct.unpack("<16I", block)
    v = [*chaining, *B3_IV[:4], counter & 0xFFFFFFFF, counter >> 32, length, flags]
    for order in B3_ORDER:
        pairs = iter(order)
        for (a, b, c, d), x, y in zip(B3_MIX, pairs, pairs):
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = (va + vb + words[x]) & 0xFFFFFFFF
            vd ^= va
            vd = (vd >> 16 | vd << 16) & 0xFFFFFFFF
            vc = (vc + vd) & 0xFFFFFFFF
            vb ^= vc
            vb = (vb >> 12 | vb << 20) & 0xFFFFFFFF
            va = (va + vb + words[y]) & 0xFFFFFFFF
            vd ^= va
            vd = (vd >> 8 | vd << 24) & 0xFFFFFFFF
            vc = (vc + vd) & 0xFFFFFFFF
            vb ^= vc
            v[b] = (vb >> 7 | vb << 25) & 0xFFFFFFFF
            v[a], v[c], v[d] = va, vc, vd
    return [v[i] ^ v[i + 8] for i in range(8)]


def blake3_tree(data, counter, root):
    if len(data) <= 1024:
        chaining, last = B3_IV, max(0, len(data) - 1) // 64
        for block in range(last + 1):
            part = bytes(data[64 * block:64 * block + 64])
            flags = (B3_CHUNK_START if block == 0 else 0) | (B3_CHUNK_END | root if block == last else 0)
            chaining = blake3_compress(chaining, part.ljust(64, b"\0"), counter, len(part), flags)
        return chaining
    left = 1024 << (((len(data) - 1) // 1024).bit_length() - 1)
    both = blake3_tree(data[:left], counter, 0) + blake3_tree(data[left:], counter + left // 1024, 0)
    return blake3_compress(B3_IV, struct.pack("<16I", *both), 0, 64, B3_PARENT | root)


def blake3(data):
    return struct.pack("<8I", *blake3_tree(memoryview(data), 0, B3_ROOT))


# §bincode


class Bincode:
    """Takes values off bytes; bytes that are left over belong to fields of a newer version."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, count):
        need(count <= len(self.data) - self.at, "a field ends behind its record")
        self.at += count
        return self.data[self.at - count:self.at]

    def integer(self, kind):
        layout = INTEGERS[kind]
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def plain(self, kind):
        if kind in INTEGERS:
            return self.integer(kind)
        if kind == "bool":
            value = self.integer("u8")
            need(value < 2, "a bool of", value)
            return value == 1
        if kind in ("string", "bytes"):
            content = self.take(self.integer("u64"))
            return string(content) if kind == "string" else text(content)
        return self.take(int(kind[4:-1])).hex()  # [u8;N]

    def value(self, kind, list_max=None):
        if isinstance(kind, str):
            return self.plain(kind)
        form, of = kind
        if form == "list":
            count = self.integer("u64")
            # No element takes less than a byte, so that a count can be judged before memory is taken.
            need(count <= len(self.data) - self.at and (list_max is None or count <= list_max), "a list of", count)
            return [self.value(of) for _ in range(count)]
        if form == "struct":
            return {name.lstrip("+"): zero(each) if name[0] == "+" and self.at == len(self.data) else self.value(each)
                    for name, each in of}
        if form == "tuple":
            return [self.value(each) for each in of]
        variant = self.integer("u32")
        need(variant < len(of), "variant", variant)
        return of[variant]


def string(content):
    try:
        return bytes(content).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("a string that is not UTF-8") from None


def text(content):
    """Bytes as text: what is not UTF-8, and a backslash, is \\xNN (§Vectors)."""
    return bytes(content).replace(b"\\", b"\\x5c").decode("utf-8", "backslashreplace")


# §Frame header, §Parts


class Frame:
    """A frame of ours and the body behind it: every length checked, the hash, and the parts."""

    def __init__(self, data, at):
        def upto(end, kind=Truncated):
            if end > len(data):
                raise kind()

        upto(at + 8)
        magic, size = struct.unpack_from("<II", data, at)
        if magic != FRAME_MAGIC or not FIXED_BYTES + HASH_BYTES <= size <= LIMITS["SUMMARY_BYTES_MAX"]:
            raise Damaged()
        if at + 24 <= len(data) and data[at + 8:at + 24] != MARKER:
            raise Damaged()
        upto(at + 8 + FIXED_BYTES)
        (_, self.major, self.minor, self.kind, self.compressed_len, self.body_len, meta_len, self.rows,
         self.uuid, self.number, self.first_ns, self.last_ns, self.watermark_ns,
         self.prev_hash) = FIXED.unpack_from(data, at + 8)
        if self.major == MAJOR and self.kind == KIND_CHUNK and size > LIMITS["HEADER_BYTES_MAX"]:
            raise Damaged()
        if self.compressed_len > LIMITS["BODY_COMPRESSED_BYTES_MAX"]:
            raise Damaged()
        body = at + 8 + size
        self.end = body + self.compressed_len
        upto(self.end, NoSummary if self.kind == KIND_SUMMARY else Truncated)
        self.hash = bytes(data[body - HASH_BYTES:body])
        if self.major < MAJOR or blake3(data[at + 8:body - HASH_BYTES] + data[body:self.end]) != self.hash:
            raise Damaged()
        if self.major > MAJOR:
            raise NoTrace({"error": "future_version", "major": self.major})
        self.len = self.end - at
        self.body = data[body:self.end]
        meta = data[at + 8 + FIXED_BYTES:body - HASH_BYTES]
        try:
            if self.kind == KIND_CHUNK:
                need(meta_len == len(meta), "parts of", meta_len, "bytes in", len(meta))
                need(self.rows <= LIMITS["ROWS_MAX"], self.rows, "rows")
                need(self.body_len <= LIMITS["BODY_BYTES_MAX"], "a body of", self.body_len, "bytes")
                self.of_chunk(parts("chunk", meta))
            elif self.kind == KIND_SUMMARY:
                need(meta_len == len(meta), "parts of", meta_len, "bytes in", len(meta))
                need(self.compressed_len == 0, "a summary with a body")
                self.of_summary(parts("summary", meta))
        except Malformed:
            raise Damaged() from None

    def of_chunk(self, part):
        self.kinds = part["kinds"]
        counts = part["counts"]
        self.json = {"number": self.number, "first_ns": self.first_ns, "last_ns": self.last_ns,
                     "watermark_ns": self.watermark_ns, "rows": self.rows, "records": counts["records"],
                     "late_rows": counts["late_rows"], "texts_cut": counts["texts_cut"],
                     "has_checkpoint": counts["flags"] & 1 == 1,
                     "seen": counts["seen"], "dropped": counts["dropped"]}

    def of_summary(self, part):
        totals, self.index = part["totals"], part["index"]
        self.index_complete = totals["index_complete"]
        self.json = {"chunks": self.number, "first_ns": self.first_ns, "last_ns": self.last_ns,
                     "watermark_ns": self.watermark_ns,
                     **{name: totals[name] for name in
                        ("rows", "records", "late_rows", "texts_cut", "seen", "dropped")},
                     "kinds": [[kind["family"], kind["rows"]] for kind in part["kinds"]],
                     "cgroups": part["cgroups"], "index": len(self.index),
                     "index_complete": totals["index_complete"],
                     "cgroups_complete": totals["cgroups_complete"]}

    def seek_table(self):
        """§Summary and seek table: what follows from a summary's index, byte for byte."""
        sizes = [size for entry in self.index
                 for size in ((entry["header_len"], 0), (entry["body_compressed_len"], entry["body_len"]))]
        sizes.append((self.len, 0))
        table = b"".join(struct.pack("<II", *size) for size in sizes)
        return struct.pack("<II", SEEK_TABLE_MAGIC, len(table) + 9) + table \
            + struct.pack("<IBI", len(sizes), 0, SEEKABLE_MAGIC)


def parts(of, meta):
    """The known parts by name; one that is absent reads as empty lists and zeros."""
    found, at = {}, 0
    while at < len(meta):
        need(at + 6 <= len(meta), "a part ends behind the header")
        tag, length = struct.unpack_from("<HI", meta, at)
        at += 6 + length
        need(at <= len(meta), "a part ends behind the header")
        need(tag not in found or tag >= 64, "part", tag, "twice")
        found[tag] = meta[at - length:at]
    values = {}
    for name, (tag, kind) in PARTS[of].items():
        if kind[1] == "index entry":
            kind = "list", INDEX_ENTRY
        limit = LISTS_MAX.get(name, "CGROUPS_MAX" if of == "chunk" else "SUMMARY_CGROUPS_MAX")
        values[name] = Bincode(found.get(tag, bytes(256))).value(kind, LIMITS[limit])
    return values


# §Body


def planes(data, rows):
    """Byte planes to numbers."""
    count = data[0] if data else 9
    need(count <= 8, "0 to 8 planes")
    need(len(data) == 1 + count * rows, "planes of", len(data), "bytes for", rows, "rows")
    whole = bytearray(8 * rows)
    for plane in range(count):
        whole[plane::8] = data[1 + plane * rows:1 + (plane + 1) * rows]
    return struct.unpack("<%dQ" % rows, whole)


def unzigzag(value):
    return value >> 1 ^ -(value & 1)


def undelta_by(keys, values):
    last = {}
    for key, value in zip(keys, values):
        last[key % 1024] = (last.get(key % 1024, 0) + unzigzag(value)) & MASK
        yield last[key % 1024]


def column(section, encoding, keys):
    """The 64-bit values of a column."""
    number, rows, data = section
    expected = ENCODING_NUMBERS["delta by" if " by " in encoding else encoding]
    need(number == expected, "encoding", number, "instead of", expected)
    if encoding == "plain":
        return planes(data, rows)
    if encoding == "delta":
        need(len(data) >= 8, "a delta column of", len(data), "bytes")
        first = struct.unpack_from("<Q", data)[0]
        steps = map(unzigzag, planes(data[8:], rows))
        return list(islice(accumulate(steps, lambda last, step: (last + step) & MASK, initial=first), 1, None))
    if encoding == "zigzag":
        return [unzigzag(value) & MASK for value in planes(data, rows)]
    return list(undelta_by(keys, planes(data, rows)))


def typed(values, kind, name, strings):
    """64-bit values as values of their type; one that does not fit makes the chunk malformed."""
    if kind == "text":
        need(not values or max(values) <= len(strings), name, "is no string of the dictionary")
        return [strings[value - 1] if value else "" for value in values]
    if kind in SIGNED:
        signed = [value - (value >> 63 << 64) for value in values]
        need(not signed or -SIGNED[kind] <= min(signed) <= max(signed) < SIGNED[kind], name, "does not fit")
        return signed
    need(not values or max(values) < UNSIGNED[kind], name, "does not fit")
    return [value == 1 for value in values] if kind == "bool" else values


def dictionary(rows, data):
    need(rows <= LIMITS["DICTIONARY_ENTRIES_MAX"] and 4 * rows <= len(data), rows, "strings")
    lengths = struct.unpack_from("<%dI" % rows, data)
    need(not lengths or max(lengths) <= LIMITS["TEXT_BYTES_MAX"], "a string of", max(lengths, default=0), "bytes")
    ends = list(accumulate(lengths, initial=4 * rows))
    need(ends[-1] == len(data), "strings of", ends[-1], "bytes in", len(data))
    return [text(data[start:end]) for start, end in zip(ends, ends[1:])]


def context(rows, data):
    need(len(data) <= LIMITS["CONTEXT_BYTES_MAX"], "a context section of", len(data), "bytes")
    need(rows <= LIMITS["RECORDS_MAX"], rows, "context records")
    at = 0
    for _ in range(rows):
        need(at + 14 <= len(data), "a record ends behind its section")
        kind, length, boot_ns = struct.unpack_from("<HIQ", data, at)
        need(length <= LIMITS["RECORD_BYTES_MAX"] and at + 14 + length <= len(data), "a record of", length, "bytes")
        payload = data[at + 14:at + 14 + length]
        at += 14 + length
        name, fields = CONTEXT.get(kind, (None, None))
        record = None if fields is None else Bincode(payload).value(fields)
        if record is not None and (name != EVENT_TYPE or understood(record)):
            yield boot_ns, name, record
        else:
            yield boot_ns, "unknown", {"kind": kind, "payload": list(payload)}
    need(at == len(data), "records of", at, "bytes in", len(data))


def sequences(section, cpus, probes):
    """§Sequences: the numbers of all rows, in the order in which rows are handed out."""
    if section is None:
        return [0] * len(cpus)
    number, rows, data = section
    need(number == ENCODING_NUMBERS["sequence"], "encoding", number, "of the sequences")
    need(rows == len(cpus), "sequences of", rows, "rows in a chunk of", len(cpus))
    need(len(data) >= 4, "sequences of", len(data), "bytes")
    pairs = struct.unpack_from("<I", data)[0]
    need(4 + 11 * pairs <= len(data), pairs, "pairs of CPU and probe")
    following = {}
    for pair in range(pairs):
        cpu, probe, first = struct.unpack_from("<HBQ", data, 4 + 11 * pair)
        need((cpu, probe) not in following, "a pair of CPU and probe twice")
        following[cpu, probe] = first
    numbers = []
    for cpu, probe, value in zip(cpus, probes, planes(data[4 + 11 * pairs:], len(cpus))):
        if probe == 0:
            numbers.append(unzigzag(value) & MASK)
            continue
        need((cpu, probe) in following, "a first number for every CPU and probe")
        numbers.append((following[cpu, probe] + unzigzag(value)) & MASK)
        following[cpu, probe] = (numbers[-1] + 1) & MASK
    return numbers


def sections(body):
    """The directory: (kind, encoding, family, column, rows, bytes) of every section."""
    need(len(body) >= 2, "a body of", len(body), "bytes")
    count = struct.unpack_from("<H", body)[0]
    at = 2 + 14 * count
    need(count <= LIMITS["SECTIONS_MAX"] and at <= len(body), count, "sections")
    for index in range(count):
        *entry, length = struct.unpack_from("<BBHHII", body, 2 + 14 * index)
        need(at + length <= len(body), "a section ends behind the body")
        yield (*entry, body[at:at + length])
        at += length
    need(at == len(body), "sections of", at, "bytes in", len(body))


def understood(record):
    """§Declared families: whether this version knows all types and encodings of an EventType."""
    if not all(field["type"] in TYPES and field["encoding"] in DECLARED_ENCODINGS for field in record["fields"]):
        return False
    need(record["family"] >= DECLARED_MIN, "family", record["family"], "is not for declaring")
    need(len(record["fields"]) <= LIMITS["FIELDS_MAX"], len(record["fields"]), "fields")
    distinct = {field["name"] for field in record["fields"]}
    need(len(distinct) == len(record["fields"]), "two fields of one name")
    names = [record["name"]] + [field["name"] for field in record["fields"]]
    need(all(len(name.encode()) <= LIMITS["NAME_BYTES_MAX"] for name in names), "a name that is too long")
    return True


def declared(records):
    """The families that a chunk's EventType records describe."""
    types = {}
    for _, name, record in records:
        if name == EVENT_TYPE:
            need(record["family"] not in types, "family", record["family"], "declared twice")
            types[record["family"]] = record["name"], [
                (16 + place, field["name"], TYPES[field["type"]], ENCODINGS[field["encoding"]])
                for place, field in enumerate(record["fields"])]
    return types


def decode(frame):
    """A chunk: its header as SPEC.md §JSON has it, its context records, its events in order."""
    try:
        need(zstandard.frame_content_size(frame.body) == frame.body_len, "another length in the zstd frame")
        body = zstandard.ZstdDecompressor().decompress(frame.body, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Malformed("the body is no zstd frame: %s" % error) from None
    need(len(body) == frame.body_len, "a body of", len(body), "bytes instead of", frame.body_len)

    columns, single = {}, {}
    for kind, encoding, family, number, rows, data in sections(body):
        if kind == 1:
            need((family, number) not in columns, "column", number, "of family", family, "twice")
            columns[family, number] = (encoding, rows, data)
        elif kind in (2, 3, 4):
            need(kind not in single, "two sections of kind", kind)
            single[kind] = (encoding, rows, data)
    _, strings_count, data = single.get(2, (0, 0, b""))
    _, records_count, context_data = single.get(3, (0, 0, b""))

    def weigh(values):
        weight = frame.compressed_len + 2 * len(body) + 2 * len(context_data) + 192 * records_count \
            + 32 * strings_count + 24 * values
        need(weight <= LIMITS["WEIGHT_MAX"], "a chunk that weighs", weight)

    weigh(0)
    strings = dictionary(strings_count, data)
    records = list(context(records_count, context_data))

    def read(family, field, rows, keys):
        """A column of `rows` values; one that is absent is all zeros."""
        number, name, kind, encoding = field
        section = columns.get((family, number))
        if section is None:
            return typed([0] * rows, kind, name, strings)
        need(section[1] == rows, name, "has", section[1], "rows of", rows)
        return typed(column(section, encoding, keys.get(encoding[9:])), kind, name, strings)

    rows = columns[0, 1][1] if (0, 1) in columns else 0
    need(rows == frame.rows, "a time column of", rows, "rows in a chunk of", frame.rows)
    # One table of the rows of all families: the common columns, and which rows are whose.
    table = {field[1]: read(0, field, frame.rows, {}) for field in COMMON}
    rows_of = {}
    for row, family in enumerate(table["family"]):
        rows_of.setdefault(family, []).append(row)
    need(0 not in rows_of, "a row of family 0")
    kinds = [(family, len(rows_of[family])) for family in sorted(rows_of)]
    counted = [(kind["family"], kind["rows"]) for kind in frame.kinds]
    need(kinds == counted, "rows of families", kinds, "in a chunk that counts", counted)

    types = {**declared(records), **FAMILIES}
    values = sum(count * (8 + len(types.get(family, ("", []))[1])) for family, count in kinds)
    need(values <= LIMITS["VALUES_MAX"], "more values than a reader takes")
    weigh(values)
    for (family, number), section in columns.items():
        ours = family in types and number in (field[0] for field in types[family][1])
        need(not ours or section[1] == len(rows_of.get(family, [])), "rows of a column of family", family)

    events = {}
    for family, rows in rows_of.items():
        if family not in types:
            continue
        name, fields = types[family]
        # A key is a common column, or one of the family's that stands before.
        keys = {key: [values[row] for row in rows] for key, values in table.items()}
        own = {}
        for field in fields:
            own[field[1]] = keys[field[1]] = read(family, field, len(rows), keys)
        for place, row in enumerate(rows):
            events[row] = name, {field: values[place] for field, values in own.items()}
    order = sorted(range(frame.rows), key=lambda row: (table["time"][row], row))
    numbers = sequences(single.get(4), [table["cpu"][row] for row in order],
                        [table["probe"][row] for row in order])

    times = table["time"] + [record[0] for record in records]
    need(all(frame.first_ns <= time <= frame.last_ns for time in times), "a time outside the chunk's range")
    lines = [{"chunk": frame.json}]
    lines += ({"record": name, "at_ns": boot_ns, "fields": fields} for boot_ns, name, fields in records)
    for row, seq in zip(order, numbers):
        if row in events:  # The others are of families that this version does not know.
            name, fields = events[row]
            if name == "timed_syscall" and fields["duration_ns"] == 0:
                name, fields = "syscall", {key: fields[key] for key in fields if key != "duration_ns"}
            if name == "exit" and not fields["usage_known"]:
                fields = {key: 0 if key in USAGE else value for key, value in fields.items()}
            lines.append({"event": name, "row": row,
                          **{field[1]: table[field[1]][row] for field in COMMON if field[1] != "family"},
                          "seq": seq, "fields": fields})
    return lines


# §Reading


class Reader:
    """Walks the frames of a trace: `lines` is what it stores, then `issues` what is wrong with it."""

    def __init__(self, data):
        self.data, self.issues = data, []
        self.uuid = self.last = self.summary = None
        self.hole = None  # the issue that awaits the next good frame
        self.seen_seek_table = self.lost = False

    def expected(self):
        return 0 if self.last is None else self.last.number + 1

    def after(self):
        return {} if self.last is None else {"after_ns": self.last.last_ns}

    def settle(self, **more):
        """A good frame follows the hole: nothing was cut, and now its extent is known."""
        if self.hole is not None:
            if self.hole != "chunks_missing":
                self.hole = "damaged"
            self.issues.append({"kind": self.hole, **more.pop("missing", {}), **self.after(), **more})
            self.hole = None

    def lines(self):
        if not self.data:
            raise NoTrace({"error": "empty"})
        at, is_trace = 0, False
        while at < len(self.data):
            try:
                if self.data[at:at + 4] == struct.pack("<I", SEEK_TABLE_MAGIC):
                    at += self.seek_table(at)
                    continue
                # A marker at a frame's place, or a good frame: this is a trace, however damaged.
                is_trace |= self.data[at:at + 4] == struct.pack("<I", FRAME_MAGIC) \
                    and self.data[at + 8:at + 24] == MARKER
                frame = Frame(self.data, at)
            except Damaged as damage:
                self.hole = self.hole or damage.name
                place = self.data.find(MARKER, at + 9)
                at = len(self.data) if place < 0 else place - 8
                continue
            at = frame.end
            if frame.kind == KIND_CHUNK:
                if self.accept(frame):
                    try:
                        yield from decode(frame)
                    except Malformed:
                        self.lost = True
                        yield {"issue": {"kind": "malformed", "number": frame.number}}
            elif frame.kind == KIND_SUMMARY:
                self.check_summary(frame)
            else:
                self.settle()
        if not is_trace:
            raise NoTrace({"error": "not_a_trace"})
        self.end()
        if self.summary is not None:
            yield {"summary": self.summary.json}
        yield from ({"issue": issue} for issue in self.issues)

    def accept(self, frame):
        """Whether a chunk belongs here in the trace."""
        if self.uuid not in (None, frame.uuid):
            self.settle()
            self.issues.append({"kind": "other_trace"})
            return False
        self.uuid = frame.uuid
        if frame.number < self.expected():
            self.settle()
            self.issues.append({"kind": "repeated"})
            return False
        missing = {}
        if frame.number > self.expected():
            missing["missing"] = [self.expected(), frame.number - 1]
            self.hole = self.hole or "chunks_missing"
        self.settle(missing=missing, before_ns=frame.first_ns)
        if not missing and frame.prev_hash != (bytes(32) if self.last is None else self.last.hash):
            self.issues.append({"kind": "chain_broken"})
        self.last = frame
        return True

    def check_summary(self, frame):
        ours = self.uuid in (None, frame.uuid)
        missing = {}
        if ours and frame.number > self.expected():
            missing["missing"] = [self.expected(), frame.number - 1]
        explained = self.hole is not None and missing
        self.settle(missing=missing)
        agrees = ours and frame.number == self.expected() and (
            self.last is None or frame.prev_hash == self.last.hash)
        if not agrees and not explained:
            self.issues.append({"kind": "summary_disagrees", **missing, **self.after()})
        self.summary = frame

    def seek_table(self, at):
        """The length of the seek table at a place; it must be the one that the summary says."""
        expected = b"" if self.summary is None else self.summary.seek_table()
        if not expected or self.data[at:at + len(expected)] != expected:
            raise NoSeekTable()
        self.settle()
        self.seen_seek_table = True
        return len(expected)

    def end(self):
        """Behind the last frame."""
        if self.hole == "truncated" and self.summary is not None:
            self.hole = "no_seek_table"  # All that is left to be cut there.
        if self.hole is not None:
            harmless = self.hole in ("no_summary", "no_seek_table")
            self.issues.append({"kind": self.hole, **({} if harmless else self.after())})
            if harmless:
                return
        if self.summary is None:
            self.issues.append({"kind": "no_summary"})
        elif self.summary.index_complete and not self.seen_seek_table:
            self.issues.append({"kind": "no_seek_table"})


def put(line):
    print(json.dumps(line, ensure_ascii=False, separators=(",", ":")))


def read(path):
    """Prints one trace; returns the exit status."""
    if path == "-":
        file = tempfile.TemporaryFile()
        shutil.copyfileobj(sys.stdin.buffer, file)
    else:
        file = open(path, "rb")
    with file:
        empty = file.seek(0, 2) == 0
        reader = Reader(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        try:
            for line in reader.lines():
                put(line)
        except NoTrace as error:
            put(error.args[0])
            return 1
    dropped = reader.last is not None and reader.last.json["dropped"] > 0
    return 3 if reader.issues or reader.lost or dropped else 0


def main(paths):
    if not paths:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    sys.stdout.reconfigure(encoding="utf-8")
    statuses = [read(path) for path in paths]
    return 1 if 1 in statuses else max(statuses)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
