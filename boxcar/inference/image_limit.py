"""How large an image may be."""

MOST_MEGAPIXELS = 210  # by default: the images of phones have up to 201
