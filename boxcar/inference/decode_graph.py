"""Decoding of an image file in a TensorFlow graph as a person sees it: `seen.as_seen`, and the EXIF orientation.

TensorFlow's decoders ignore the orientation, so it is read from the file's bytes here, with operations that every TensorFlow
has. The positions in a file that is cut short or made up stay inside of it.
"""

import tensorflow as tf

_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4  # TIFF's types of a number


def decode_file(encoded: tf.Tensor) -> tf.Tensor:
    """The pixels, uint8 [H, W, 3], of a JPEG or PNG: upright, and on white where a PNG is transparent."""
    pixels, tiff = tf.cond(
        tf.io.is_jpeg(encoded),
        # TensorFlow's default is a faster transform, which deviates by up to 8 of 255.
        lambda: (tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"), _find_in_jpeg(encoded)),
        lambda: (_decode_png(encoded), _find_in_png(encoded, b"eXIf")),
    )
    return _turn(tf.ensure_shape(pixels, [None, None, 3]), _orientation(encoded, tiff))


def _decode_png(encoded: tf.Tensor) -> tf.Tensor:
    # Not always with an alpha channel: to images of less than 8 bits without one, TensorFlow adds one that is not opaque.
    has_alpha = tf.bitwise.bitwise_and(_byte(encoded, tf.constant(25)), 4) > 0  # the color type in the header
    return tf.cond(
        has_alpha | (_find_in_png(encoded, b"tRNS") > 0),
        lambda: _on_white(tf.io.decode_png(encoded, channels=4)),
        lambda: tf.io.decode_png(encoded, channels=3),
    )


def _on_white(pixels: tf.Tensor) -> tf.Tensor:
    colors, alpha = tf.cast(pixels[..., :3], tf.int32), tf.cast(pixels[..., 3:], tf.int32)
    mixed = colors * alpha + 255 * (255 - alpha) + 128
    return tf.cast((mixed + mixed // 256) // 256, tf.uint8)  # divided by 255 and rounded, as Pillow does it


def _find_in_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """The position of the EXIF data in a JPEG, 0 if there is none."""
    size = tf.strings.length(encoded)

    def find(position: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        marker = _byte(encoded, position + 1)
        is_exif = (marker == 0xE1) & (tf.strings.substr(encoded, position + 4, 6) == b"Exif\0\0")
        # A byte FF before a marker fills.
        following = tf.where(marker == 0xFF, position + 1, position + 2 + _number(encoded, position + 2, 2, big=True))
        following = tf.where(marker == 0xDA, size, following)  # the image's data begins
        return following, tf.where(is_exif, position + 10, 0)

    def more(position: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return (found == 0) & (position + 10 < size) & (_byte(encoded, position) == 0xFF)

    return tf.while_loop(more, find, (tf.constant(2), tf.constant(0)))[1]


def _find_in_png(encoded: tf.Tensor, kind: bytes) -> tf.Tensor:
    """The position of the data in a PNG's chunk of a kind, 0 if there is none."""
    size = tf.strings.length(encoded)

    def find(position: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        length = _number(encoded, position, 4, big=True)
        is_there = tf.strings.substr(encoded, position + 4, 4) == kind
        # A length beyond the end ends the search; without the limit, the sum could overflow.
        return position + 12 + tf.where((length < 0) | (length > size), size, length), tf.where(is_there, position + 8, 0)

    def more(position: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return (found == 0) & (position + 12 <= size)

    return tf.while_loop(more, find, (tf.constant(8), tf.constant(0)))[1]


def _orientation(encoded: tf.Tensor, tiff: tf.Tensor) -> tf.Tensor:
    """The orientation, 1 to 8, in the EXIF data at a position; 1 if there is none."""
    big = _byte(encoded, tiff) == ord("M")
    size = tf.strings.length(encoded)

    def read(offset: tf.Tensor, length: int) -> tf.Tensor:
        return _number(encoded, tiff + offset, length, big)

    first = read(tf.constant(4), 4)
    valid = (tiff > 0) & (first >= 8) & (first < size)
    first = tf.where(valid, first, 0)
    count = tf.where(valid, read(first, 2), 0)
    entry = first + 2

    def more(number: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return (number < count) & (found == 0) & (tiff + entry + 12 * number + 12 <= size)

    def find(number: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        here = entry + 12 * number
        kind = read(here + 2, 2)
        value = tf.where(kind == _SHORT, read(here + 8, 2), tf.where(kind == _LONG, read(here + 8, 4), 1))
        return number + 1, tf.where(read(here, 2) == _ORIENTATION, value, 0)

    found = tf.while_loop(more, find, (tf.constant(0), tf.constant(0)))[1]
    return tf.where((found >= 1) & (found <= 8), found, 1)


def _turn(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """The pixels upright."""

    def one_of(*numbers: int) -> tf.Tensor:
        return tf.reduce_any(orientation == tf.constant(numbers))

    pixels = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    pixels = tf.cond(one_of(2, 3, 6, 7), lambda: tf.reverse(pixels, [1]), lambda: pixels)
    return tf.cond(one_of(3, 4, 7, 8), lambda: tf.reverse(pixels, [0]), lambda: pixels)


def _byte(encoded: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    return _number(encoded, position, 1, big=True)


def _number(encoded: tf.Tensor, position: tf.Tensor, length: int, big: tf.Tensor | bool) -> tf.Tensor:
    """The unsigned number in one, two, or four bytes, as int32, in which large ones are negative; 0 beyond the file's end."""
    inside = (position >= 0) & (position + length <= tf.strings.length(encoded))
    text = tf.cond(inside, lambda: tf.strings.substr(encoded, position, length), lambda: tf.constant(b"\0" * length))
    bytes_ = tf.cast(tf.reshape(tf.io.decode_raw(text, tf.uint8), [length]), tf.int32)
    little = tf.where(big, tf.reverse(bytes_, [0]), bytes_)
    return tf.add_n([little[place] * (1 << 8 * place) for place in range(length)])
