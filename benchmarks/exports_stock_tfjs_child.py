"""Converts a SavedModel as `tensorflowjs_converter` does with its defaults. A child of exports_tfjs.py.

    tensorflowjs_converter --input_format=tf_saved_model --output_format=tfjs_graph_model SAVED_MODEL FOLDER

The command itself imports packages for formats that are not asked for here, which Boxcar's environment does not hold.

Usage: exports_stock_tfjs_child.py SAVED_MODEL FOLDER
"""

import sys

from boxcar.export.tfjs_child import load_converter


def main() -> None:
    # Stripping is the command's default, not the function's.
    load_converter().convert_tf_saved_model(sys.argv[1], sys.argv[2], strip_debug_ops=True)


if __name__ == "__main__":
    main()
