"""Classes of the protocol buffers that Boxcar reads, made without TensorFlow and the Object Detection API.

They are in a pool of their own, because TensorFlow registers the same names in protobuf's default pool.
"""

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass


def _example_file() -> FileDescriptorProto:
    """`tf.train.Example`, from tensorflow/core/example/{example,feature}.proto."""
    file = FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    lists = {"BytesList": Field.TYPE_BYTES, "FloatList": Field.TYPE_FLOAT, "Int64List": Field.TYPE_INT64}
    for name, scalar in lists.items():
        file.message_type.add(name=name).field.add(name="value", number=1, label=Field.LABEL_REPEATED, type=scalar)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (kind, name) in enumerate(zip(("bytes_list", "float_list", "int64_list"), lists, strict=True), 1):
        feature.field.add(name=kind, number=number, type=Field.TYPE_MESSAGE, type_name=name, oneof_index=0)
    features = file.message_type.add(name="Features")
    features.field.add(
        name="feature", number=1, label=Field.LABEL_REPEATED, type=Field.TYPE_MESSAGE, type_name="Features.FeatureEntry"
    )
    entry = features.nested_type.add(name="FeatureEntry")  # how a map is written
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=Field.TYPE_STRING)
    entry.field.add(name="value", number=2, type=Field.TYPE_MESSAGE, type_name="Feature")
    example = file.message_type.add(name="Example")
    example.field.add(name="features", number=1, type=Field.TYPE_MESSAGE, type_name="Features")
    return file


def _label_map_file() -> FileDescriptorProto:
    """What is read of object_detection/protos/string_int_label_map.proto."""
    file = FileDescriptorProto(name="string_int_label_map.proto", package="object_detection.protos", syntax="proto2")
    item = file.message_type.add(name="StringIntLabelMapItem")
    item.field.add(name="name", number=1, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
    item.field.add(name="id", number=2, label=Field.LABEL_OPTIONAL, type=Field.TYPE_INT32)
    item.field.add(name="display_name", number=3, label=Field.LABEL_OPTIONAL, type=Field.TYPE_STRING)
    file.message_type.add(name="StringIntLabelMap").field.add(
        name="item", number=1, label=Field.LABEL_REPEATED, type=Field.TYPE_MESSAGE, type_name="StringIntLabelMapItem"
    )
    return file


_POOL = DescriptorPool()
_POOL.Add(_example_file())
_POOL.Add(_label_map_file())
TfExample: Any = GetMessageClass(_POOL.FindMessageTypeByName("tensorflow.Example"))
TfFeature: Any = GetMessageClass(_POOL.FindMessageTypeByName("tensorflow.Feature"))
LabelMap: Any = GetMessageClass(_POOL.FindMessageTypeByName("object_detection.protos.StringIntLabelMap"))
