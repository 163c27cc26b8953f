"""What Boxcar's HTML pages share: the style, and images with boxes over them. A page is one file and needs no network.

May import nothing of Boxcar.
"""
