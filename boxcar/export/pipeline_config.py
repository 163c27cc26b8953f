"""`pipeline.config`: a detector's description for the TensorFlow Object Detection API, as in the Detection Zoo's archives.

The values are the published ones: research/object_detection/configs/tf2/ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8.config in
the TensorFlow Model Garden's repository, and its 640x640 variant. Values that differ between detectors come from
`detector.json`. The paths of the data are the placeholder of those archives, PATH_TO_BE_CONFIGURED.
"""

from string import Template

from boxcar.inference.specification import Specification

PIPELINE = "pipeline.config"

_CONVOLUTIONS = """\
conv_hyperparams {
        activation: RELU_6
        regularizer { l2_regularizer { weight: 0.00004 } }
        initializer { random_normal_initializer { mean: 0.0 stddev: 0.01 } }
        batch_norm { decay: 0.997 scale: true epsilon: 0.001 }
      }"""

# The API numbers classes from 1 without gaps, and knows no other ids.
_NUMBERING = "  # class n of the API is the n-th of label_map.pbtxt, in the order of ids"

_TEXT = Template("""\
model {
  ssd {
    num_classes: $classes$numbering
    image_resizer { fixed_shape_resizer { height: $size width: $size } }
    feature_extractor {
      type: "$feature_extractor"
      depth_multiplier: 1.0
      min_depth: 16
      $convolutions
      use_depthwise: true
      override_base_feature_extractor_hyperparams: true
      fpn { min_level: $min_level max_level: $max_level additional_layer_depth: 128 }
    }
    box_coder {
      faster_rcnn_box_coder { y_scale: $y_scale x_scale: $x_scale height_scale: $height_scale width_scale: $width_scale }
    }
    matcher {
      argmax_matcher {
        matched_threshold: 0.5
        unmatched_threshold: 0.5
        ignore_thresholds: false
        negatives_lower_than_unmatched: true
        force_match_for_each_row: true
        use_matmul_gather: true
      }
    }
    similarity_calculator { iou_similarity { } }
    box_predictor {
      weight_shared_convolutional_box_predictor {
        $convolutions
        depth: 128
        num_layers_before_predictor: 4
        kernel_size: 3
        class_prediction_bias_init: -4.6
        share_prediction_tower: true
        use_depthwise: true
      }
    }
    anchor_generator {
      multiscale_anchor_generator {
        min_level: $min_level
        max_level: $max_level
        anchor_scale: $anchor_scale
        aspect_ratios: $aspect_ratios
        scales_per_octave: $scales
      }
    }
    post_processing {
      batch_non_max_suppression {
        score_threshold: $score_threshold
        iou_threshold: $iou_threshold
        max_detections_per_class: $per_class
        max_total_detections: $in_all
      }
      score_converter: SIGMOID
    }
    loss {
      localization_loss { weighted_smooth_l1 { } }
      classification_loss { weighted_sigmoid_focal { gamma: 2.0 alpha: 0.25 } }
      classification_weight: 1.0
      localization_weight: 1.0
    }
    normalize_loss_by_num_matches: true
    normalize_loc_loss_by_codesize: true
    encode_background_as_zeros: true
    inplace_batchnorm_update: true
    freeze_batchnorm: false
  }
}
train_config {
  batch_size: 128
  num_steps: 50000
  fine_tune_checkpoint_version: V2
  fine_tune_checkpoint: "PATH_TO_BE_CONFIGURED"
  fine_tune_checkpoint_type: "detection"
  sync_replicas: true
  startup_delay_steps: 0.0
  replicas_to_aggregate: 8
  max_number_of_boxes: 100
  unpad_groundtruth_tensors: false
  data_augmentation_options { random_horizontal_flip { } }
  data_augmentation_options {
    random_crop_image {
      min_object_covered: 0.0
      min_aspect_ratio: 0.75
      max_aspect_ratio: 3.0
      min_area: 0.75
      max_area: 1.0
      overlap_thresh: 0.0
    }
  }
  optimizer {
    momentum_optimizer {
      learning_rate {
        cosine_decay_learning_rate {
          learning_rate_base: 0.08
          total_steps: 50000
          warmup_learning_rate: 0.026666
          warmup_steps: 1000
        }
      }
      momentum_optimizer_value: 0.9
    }
    use_moving_average: false
  }
}
train_input_reader {
  label_map_path: "PATH_TO_BE_CONFIGURED"
  tf_record_input_reader { input_path: "PATH_TO_BE_CONFIGURED" }
}
eval_config {
  metrics_set: "coco_detection_metrics"
  use_moving_averages: false
}
eval_input_reader {
  label_map_path: "PATH_TO_BE_CONFIGURED"
  shuffle: false
  num_epochs: 1
  tf_record_input_reader { input_path: "PATH_TO_BE_CONFIGURED" }
}
""")


def pipeline_config(specification: Specification, feature_extractor: str) -> str:
    """The text of a detector's `pipeline.config`.

    Args:
        specification: of the detector.
        feature_extractor: the API's name for its architecture.
    """
    anchors, coder, thresholds = specification.anchors, specification.box_coder, specification.thresholds
    return _TEXT.substitute(
        feature_extractor=feature_extractor,
        classes=specification.class_slots - 1,
        numbering=_NUMBERING if specification.dense_slots else "",
        size=specification.image_size,
        convolutions=_CONVOLUTIONS,
        min_level=anchors.min_level,
        max_level=anchors.max_level,
        anchor_scale=anchors.anchor_scale,
        aspect_ratios=list(anchors.aspect_ratios),
        scales=anchors.scales_per_octave,
        **coder.model_dump(),
        score_threshold=thresholds.score,
        iou_threshold=thresholds.iou,
        per_class=thresholds.max_detections_per_class,
        in_all=thresholds.max_detections,
    )
