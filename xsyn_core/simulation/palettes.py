"""Colours of real scanners, measured.

For each family of scanners, five rows of colours: of organic, mixed light, inorganic, mixed heavy
and metallic matter (orange, olive, green, teal, blue on most of them). A row holds the
median colour (RGB, hexadecimal) of pixels of that hue in real scans, at the
luminances of `LEVELS` out of 255, from opaque to air. Families that know three hues only (`THREE`)
hold means in the rows between. Where a family's scans show no such pixel the
neighbouring hues or levels fill in.
"""

import numpy as np

LEVELS = (0, 8, 16, 32, 48, 72, 96, 120, 144, 168, 192, 216, 236, 255)

# Effective atomic number at the middle of each row.
NUMBERS = (7.2, 9.2, 12.5, 16.5, 21.0)

# Scanners that give each pixel one of three hues, orange, green or blue, with nothing between.
THREE = ("pixray", "grey", "green")

_MEASURED: dict[str, str] = {
    "sixray": """
020201 080904 101308 1f260f 2f3917 465523 7b6614 b37413 ce8a24 e19f3e edb86f f5d3a7 f9e7cf ffffff
020201 070a04 0e1408 1c2710 2a3b18 3f5924 676f19 8e8017 b39229 cca947 d7c27b e6daae f1ecd5 ffffff
010202 050a08 0a140f 15281f 203b2e 305e36 3d7e2b 5a9530 74ac47 91c068 b1d08f cfe2bc e5efda ffffff
020203 070a0a 0e1315 1c272a 1f3838 1b5e61 257874 33948f 57a89f 7fbaaf a4ccc6 c4e0dd def0ef ffffff
020203 090a0c 121417 24282e 1d384d 11598f 1d71b0 2e8ccc 4ca1de 7cb3d7 a2c8e0 c4dded e2eef6 ffffff
""",
    "opixray": """
020201 090905 11120a 232415 34361f 644522 985416 c36616 e37a2c e89657 eab68b eed2bb f2e6dc fafafa
020201 080a05 0f130b 1f2615 2e3a20 514e25 706329 8c7a31 a5933d bbad58 d4c484 e2d8b3 ede8d9 fafafa
020302 060a06 0d150d 192a1a 263f27 335933 427444 618b4e 78a55f 9ab778 b6ce9c cddfc1 e6f1e0 fafafa
010203 040a0c 091318 122630 1d3c37 2c584f 3a7569 418882 6f9e96 91afac b0c5c3 cedbda e8eded fafafa
010204 04090f 08121e 10243c 193658 234c94 2d6baa 5081ad 8292a2 98a8bd b5c0cf d1d8e1 e9ecf0 fafafa
""",
    "pixray": """
010000 040100 1d0700 4e1300 601c00 853507 a74e0c be651e d38234 df9951 ecb474 f7d09c fde6c3 fefefe
010100 020200 0e0e00 2a2202 383005 584c0e 726416 8a7c2b a09844 b0af60 c3c881 d6e0a5 e5f2c7 fefefe
000100 000400 001400 063204 11450a 2c6315 3e7a20 559238 6cad53 82c56f 9adc8e b5efae cdfecb fefefe
000101 000202 001624 032a34 0b3c4c 1f5667 326c79 4e868c 68a0a1 82b7b4 9ecec4 bce3d6 d7f5e5 fefefe
000002 000005 001749 002365 05348d 124ab9 255fd2 477ae0 6392ef 81a9f8 a3c0fa c2d7fd e1ecfe fefefe
""",
    "parcel": """
030202 0a0a09 141312 292625 3b2920 574535 7c5a38 bf671e e6792d e99958 eab585 efd4b6 f7e9da fefffe
030202 0a0a0a 141413 292826 2d2c26 4d4b37 66653c 927b34 9a9846 b2ae65 cbc58e e2dcb2 f1eddb fefffe
020202 080a08 101410 1f2820 203826 38533c 4a7447 539257 5bb162 8cc281 9ed89f c4e7c4 def1d8 fefffe
020302 060b0a 0c1614 182c28 1b3937 2b5554 377371 458b79 63a394 8ab7ab 9fd4c3 bfe6d8 dbefe9 fefffe
020203 060a0c 0c1318 192630 153b59 195490 1f6ac1 3d81bf 7e94a6 98aab9 b2c4d0 cedae2 e7edf1 fefffe
""",
    "deep": """
020201 0a0905 14120b 272415 4c2e14 743e12 984f16 c86021 dd793f e59768 ebb390 f1d1bd f6e7db fefefe
020201 080a05 10140b 212816 393915 514c1e 6d6329 847c37 a0934b b7ab64 cbc483 dfdab4 f3efe1 fefefe
020302 070a07 0e140e 1c291d 293d22 3b552d 457142 658852 80a25d 97b976 b2d090 cfe3bb e5f2dd fefefe
020303 060b0a 0c1615 182b2a 1f3c39 2b524b 3d6e67 458c84 759b92 93b1aa b1c6c1 cfdcd9 e8eeec fefefe
010205 040912 081225 11234a 1a315d 304a76 47638b 5a7fa8 8891a9 9baabf b7c1d1 d2d9e2 e9ecf1 fefefe
""",
    "tray": """
030301 0b0a05 141208 261f0e 452e17 644322 84582d a76c38 c98245 e19b65 f2b48d f8d1b9 fcebe0 fefefc
030302 0c0b06 151508 1e1f0d 353317 4e4c21 68652b 827d36 a0934d b6ac73 ccc297 dfd8bd eee8d9 fefefc
020402 060f06 071508 0f2a12 1a3d1a 2a5d21 407929 559443 6faa60 8dbd7f aecd9e cfdcbd e8eede fefefc
020302 060c0a 091a14 102b24 173835 23534e 436c62 638079 7f9791 9bada8 b6c4c0 d2dad7 e9edeb fefefc
010303 050c0b 0a1618 142637 1c3448 274e6a 4e6275 697a8a 84919e 9ea9b3 b9c1c7 d4d9dc eaeced fefefc
""",
    "yellow": """
030201 0b0804 170f08 2d1e10 442d19 664425 944f20 b66632 d18046 eb975a fab576 fdce8d fee8b6 fefee0
020200 070902 0f1204 1d2407 2c360b 425110 65662a 807e40 9b9552 b5ad66 cfc57d fadb98 fcf1af fefee0
020200 070a02 0f1304 1e2708 2d3a0c 435712 546e23 6c8b37 81a24d 98bb65 b1d27f c9e998 e2f7be fefee0
000064 00024d 020951 07235f 123762 2f565c 426e6f 558587 759c9a 8fb3af a4cac6 c0e1de e4f2df fefee0
000064 000072 000072 02217d 043487 19509c 2a6bbb 3e84d6 5299e9 7cb2d8 99c9e4 c2dfe2 e5f1e1 fefee0
""",
    "pale": """
030201 0b0804 170f08 2d1e10 442d19 664425 944f20 b66632 d18046 eb975a fab576 fdce8d fdf0be ffffce
020200 070902 0f1204 1d2407 2c360b 425110 65662a 807e40 97956e b0ad7b c7c785 e1e199 f5fbb7 ffffce
020200 070a02 0f1304 1e2708 2d3a0c 435712 52703e 678763 83a64a 95bc61 afd481 c7f09a e0fcb4 ffffce
000064 01044e 021253 062561 113965 2f565c 426d71 588483 709da1 8cb5b2 a6cac4 c0e1de e5f3d4 ffffce
000064 000072 011176 01247f 03398c 1851a1 2c6bb5 4783bc 6799bb 81b1cd 99c9e4 c3dfdb e7f2d3 ffffce
""",
    "orange": """
040403 120e0b 1f1308 361a05 502707 773c0c 9b5113 c66414 eb781f f19549 f3b37b f6d4b6 fae8d9 ffffff
040403 10100b 15130b 262410 373216 524d24 6d622c 8d7935 a09344 b5aa67 d0c285 e5daaf f1eed4 ffffff
040403 0e100d 0f110e 1b2b1c 253a24 3a5533 4c6f43 598b59 79a36e 98b690 b0d198 c9eab2 e3f2d6 ffffff
030404 0b0f0e 0c1111 142a28 1c3936 2a5755 3a7067 488b7d 58a99f 73b6b8 b1cac7 c9dbdb e5eded ffffff
020406 080e1a 081327 0d2340 14375b 1e5082 3269a5 4680bb 659cd2 83aad4 b2c4d5 cfdae5 e8edf2 ffffff
""",
    "grey": """
020000 050100 200d00 3f1800 5e2200 893303 a34811 e55708 ff6e24 fe8e51 fdb182 fbceac fde5d2 fefefe
010100 020200 101100 212500 343603 504e0a 65681a 947a21 b48f3c bcac61 cec68a dedcb2 ebeed3 fefefe
000100 000300 001500 033201 094a06 166a12 278723 429d3a 69b055 7ac971 9fda93 c0eab7 d9f6d4 fefefe
000001 000202 00151d 042a2c 0c3e3c 1c5a54 327467 4c8b7c 6ca093 83b9a9 a5cec0 c4e1d6 dbf0e8 fefefe
000002 000005 00153a 052256 0f3273 234a95 3c62ab 5679bf 7091d1 8ca9e1 abc1ec c8d8f6 dde9fd fefefe
""",
    "green": """
000100 010400 0b1200 1f2200 353a03 7e3607 9b4c16 b36220 c37f3e d49c5b e3b681 efd3ac f8e6d0 fefefe
000100 010500 081500 162600 284003 564b0e 6e611e 857a2d 999647 adb060 c4c785 d9dead eaeed0 fefefe
000200 000600 051800 0e2a00 1b4704 2d6014 417626 57913a 6fac50 86c466 a4d889 c3e8ae ddf5d0 fefefe
000202 000606 04161a 0a2428 163b38 2a5450 406b66 57847a 729e8e 8ab6a0 a8ccb8 c6e0d0 e1f0e4 fefefe
000204 00050d 021334 071f4f 122f6b 26478c 3e60a6 5778ba 7490cd 8ea7db adc1e6 cad7f1 e5ecf8 fefefe
""",
}


def measured(family: str) -> np.ndarray:
    """(5, 14, 3) float32: the colours of a family, 0 to 255, by hue row and level."""
    rows = [[bytes.fromhex(c) for c in row.split()] for row in _MEASURED[family].split("\n") if row]
    return np.array([[tuple(c) for c in row] for row in rows], np.float32)


FAMILIES = tuple(_MEASURED)
