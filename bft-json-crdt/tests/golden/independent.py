#!/usr/bin/env python3
"""Writes one change by hand from docs/protocol.md, with nothing of the crate: prints `id hex` and `change hex`.

The output is committed as independent.txt; a test compares the crate's bytes with it. Ed25519 is written down from RFC 8032, section 5.1.
"""
import hashlib

# --- Ed25519 -----------------------------------------------------------------
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2
    return ((x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P) % P)


def times(n, point):
    out = (0, 1)
    for bit in bin(n)[2:]:
        out = add(out, out)
        if bit == "1":
            out = add(out, point)
    return out


BY = 4 * pow(5, P - 2, P) % P
XX = (BY * BY - 1) * pow(D * BY * BY + 1, P - 2, P) % P
BX = pow(XX, (P + 3) // 8, P)
if (BX * BX - XX) % P:
    BX = BX * pow(2, (P - 1) // 4, P) % P
BASE = (P - BX if BX % 2 else BX, BY)


def compress(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def sha512_int(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def public_key(seed):
    h = hashlib.sha512(seed).digest()
    a = int.from_bytes(h[:32], "little") & (2**254 - 8) | 2**254
    return a, h[32:], compress(times(a, BASE))


def sign(seed, message):
    a, prefix, key = public_key(seed)
    r = sha512_int(prefix, message) % L
    big_r = compress(times(r, BASE))
    s = (r + sha512_int(big_r, key, message) * a) % L
    return big_r + s.to_bytes(32, "little")


# --- Section 1 ---------------------------------------------------------------
def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def string(s):
    s = s.encode()
    return varint(len(s)) + s


def hash_(domain, data):
    return hashlib.sha256(domain.encode() + b"\0" + data).digest()


# --- Section 4: the operations, column by column -----------------------------
# offset 0, 1  insert "hi" and 1 at the start of the list "notes" under the root
# offset 2     add -5 to the counter "apple" in the map "shop" under the root
# offset 3..5  text "a", "ñ", "b" in the text of the element (one step back, 5), right of (ff…, 7)
# offset 6..8  delete (two steps back) 9, 8, 7
# offset 9     move the element of offset 0 to the left of offset 1
ops = b"".join([
    bytes([5]),                                             # 1 number of runs
    bytes([4, 3, 7, 5, 6]),                                 # 2 op kinds
    bytes([4]), bytes([5, 4, 3, 6]),                        # 3 containers: list, map, counter, text
    bytes([0]),                                             # 4 element kinds
    bytes([1]), b"\xff" * 32,                               # 5 foreign table
    bytes([3]), string("notes"), string("shop"), string("apple"),  # 6 key table
    bytes([0, 0, 2, 1]),                                    # 7 parent forms
    bytes([2]),                                             # 8 element sources: one step back
    bytes([5]),                                             # 9 element offsets
    bytes([1]),                                             # 10 parent steps: the counter's map stands right before it
    bytes([0, 1, 2]),                                       # 11 entry keys
    bytes([2, 3, 3]),                                       # 12 run lengths: insert, text, delete
    bytes([1]),                                             # 13 directions: backward
    bytes([1, 3, 4]),                                       # 14 run containers: insert, add, text
    bytes([0, 1, 2]),                                       # 15 anchors: insert start, text right, move left
    bytes([1, 4, 0, 0]),                                    # 16 sources: text foreign 0, delete two back, move own and own
    bytes([7, 9, 0, 1]),                                    # 17 offsets
    bytes([6]) + string("hi"), bytes([3, 1]),               # 18 values
    bytes([9]),                                             # 19 steps: zigzag of -5
    "añb".encode(),                                         # 20 characters
])

# --- Section 3 ---------------------------------------------------------------
seed = b"\x2a" * 32
header = b"".join([
    varint(1),                        # version
    b"\xd0" * 32,                     # document
    public_key(seed)[2],              # author
    varint(300),                      # seq
    b"\x11" * 32,                     # previous
    varint(2), b"\x01" * 32, b"\xff" * 32,  # deps
    varint(1_700_000_000_000),        # time_ms
    hash_("side/1/ops", ops),         # ops_hash
])
change_id = hash_("side/1/change", header)
signature = sign(seed, b"side/1/change-signature\0" + change_id)
print(change_id.hex())
print((header + varint(len(ops)) + ops + signature).hex())
