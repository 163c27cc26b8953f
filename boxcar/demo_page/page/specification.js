// `detector.json`: everything besides the weights that is needed to turn an image into detections.

/**
 * Checks a parsed `detector.json` and returns it with `task`, `classSlots`, the number of class logits per anchor, and
 * `slotIds`, each slot's class id, if class slots are numbered without the gaps between ids; without them, a slot is an id.
 * Throws an Error that names what is missing or unknown.
 */
export function readSpecification(value) {
  if (value?.format_version !== 1) throw new Error('its format_version is not 1');
  const [low, high] = value.value_range ?? [];
  if (!(Number.isFinite(low) && Number.isFinite(high) && low < high)) throw new Error('its value_range is not two ascending numbers');
  const ids = Object.keys(value.labels ?? {}).map(Number);
  if (!ids.length || !ids.every((id) => Number.isInteger(id) && id >= 1)) throw new Error('it has no labels with ids from 1');
  for (const [part, names] of Object.entries(NUMBERS)) {
    for (const name of names) {
      const number = (part ? value[part] : value)?.[name];
      if (!Number.isFinite(number)) throw new Error(`it has no number ${part ? `${part}.` : ''}${name}`);
    }
  }
  const ratios = value.anchors.aspect_ratios;
  if (!Array.isArray(ratios) || !ratios.length || !ratios.every((ratio) => ratio > 0)) {
    throw new Error('it has no anchors.aspect_ratios');
  }
  const slotIds = value.dense_slots ? [0, ...ids.toSorted((a, b) => a - b)] : null;
  return { task: 'boxes', ...value, slotIds, classSlots: slotIds?.length ?? Math.max(...ids) + 1 }; // slot 0 is background
}

const NUMBERS = {
  '': ['image_size'],
  anchors: ['min_level', 'max_level', 'anchor_scale', 'scales_per_octave'],
  box_coder: ['y_scale', 'x_scale', 'height_scale', 'width_scale'],
  thresholds: ['score', 'iou', 'max_detections_per_class', 'max_detections'],
};
