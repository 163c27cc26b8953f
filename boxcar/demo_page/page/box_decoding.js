// Decodes raw heads to boxes in plain JavaScript, as boxcar/inference/decoding.py does it in Python; tests compare the two.
//
//   const decode = makeDecoder(readSpecification(detectorJson));   // once per model
//   const { boxes, scores, classes } = decode({ box_encodings, class_logits });   // once per image
//
// Arithmetic is rounded to 32 bits as in Python, so that both keep the same one of nearly equal boxes.

const f32 = Math.fround;

/** The network's outputs: the shape of each by its name, for one image. */
export function outputShapes(specification) {
  const anchors = makeAnchors(specification.image_size, specification.anchors).length / 4;
  return { box_encodings: [anchors, 4], class_logits: [anchors, specification.classSlots] };
}

/**
 * A function that decodes one image's heads: `box_encodings` Float32Array of A x 4 (ty, tx, th, tw relative to the anchors),
 * `class_logits` Float32Array of A x C (slot 0 is background).
 *
 * It returns, best score first, of equals the lower class, then the earlier anchor: `boxes` Float32Array of M x 4 (ymin, xmin,
 * ymax, xmax, normalized by the image's height and width, clipped to it), `scores` Float32Array of M, `classes` Int32Array of
 * M, the ids of the label map. It throws an Error for heads that do not fit the specification, or numbers that are not finite.
 */
export function makeDecoder(specification) {
  const { box_coder: coder, thresholds, classSlots, slotIds } = specification;
  const corners = makeAnchors(specification.image_size, specification.anchors);
  const count = corners.length / 4;
  const { score, max_detections_per_class: mostPerClass } = thresholds;
  // Comparing logits with the threshold's logit saves the sigmoid of the 99 % of anchors that see nothing.
  const lowest = score > 0 ? Math.log(score / (1 - score)) : -Infinity;
  const most = Math.min(thresholds.max_detections, count * (classSlots - 1));
  const candidates = new Candidates(count * classSlots, classSlots);
  const kept = new Float32Array(4 * most); // not clipped: suppression compares whole boxes
  const areas = new Float32Array(most);
  const clipped = new Float32Array(4 * most);
  const scores = new Float32Array(most);
  const classes = new Int32Array(most);
  const perClass = new Int32Array(classSlots);
  const box = new Float32Array(4);

  return function decode({ box_encodings: boxEncodings, class_logits: classLogits }) {
    if (boxEncodings.length !== count * 4 || classLogits.length !== count * classSlots) {
      throw new Error(
        `heads of ${boxEncodings.length} and ${classLogits.length} numbers do not fit a detector with ` +
          `${count} anchors and ${classSlots} class slots`,
      );
    }
    checkFinite(boxEncodings.reduce((sum, number) => sum + number, 0));
    candidates.collect(classLogits, lowest);
    perClass.fill(0);
    let found = 0;
    while (found < most && candidates.size > 0) {
      const flat = candidates.best();
      const confidence = candidates.bestScore();
      candidates.dropBest();
      const label = flat % classSlots;
      if (perClass[label] === mostPerClass) continue;
      placeBox(box, boxEncodings, corners, (flat - label) / classSlots, coder);
      const top = clip(box[0]);
      const left = clip(box[1]);
      const bottom = clip(box[2]);
      const right = clip(box[3]);
      if (!(bottom > top && right > left)) continue; // nothing of it is in the image
      const area = f32(f32(box[2] - box[0]) * f32(box[3] - box[1]));
      if (isOverlapped(label, area, found)) continue;
      kept.set(box, 4 * found);
      areas[found] = area;
      clipped[4 * found] = top;
      clipped[4 * found + 1] = left;
      clipped[4 * found + 2] = bottom;
      clipped[4 * found + 3] = right;
      scores[found] = confidence;
      classes[found] = label;
      perClass[label] += 1;
      found += 1;
    }
    const slots = classes.subarray(0, found);
    const ids = slotIds ? slots.map((slot) => slotIds[slot]) : slots.slice();
    return { boxes: clipped.slice(0, 4 * found), scores: scores.slice(0, found), classes: ids };
  };

  // Greedy suppression within a class: whether a better box overlaps `box` by more than the threshold.
  function isOverlapped(label, area, found) {
    const limit = f32(thresholds.iou);
    for (let index = 0; index < found; index += 1) {
      if (classes[index] !== label) continue;
      const at = 4 * index;
      const height = f32(Math.min(box[2], kept[at + 2]) - Math.max(box[0], kept[at]));
      const width = f32(Math.min(box[3], kept[at + 3]) - Math.max(box[1], kept[at + 1]));
      if (!(height > 0 && width > 0)) continue;
      const intersection = f32(height * width);
      const union = f32(f32(area + areas[index]) - intersection);
      if (f32(intersection / union) > limit) return true;
    }
    return false;
  }
}

/**
 * Anchor boxes, Float32Array of A x 4 (ymin, xmin, ymax, xmax), normalized to the input; they may reach beyond it.
 *
 * Order: level, row, column, aspect ratio, scale. A level whose stride divides the input has its anchors in the middle of the
 * cells, any other level at their upper left corners, as in the Object Detection API.
 */
export function makeAnchors(imageSize, anchors) {
  const boxes = [];
  for (let level = anchors.min_level; level <= anchors.max_level; level += 1) {
    const stride = 2 ** level;
    const cells = Math.ceil(imageSize / stride);
    const offset = imageSize % stride === 0 ? stride / 2 : 0;
    const base = anchors.anchor_scale * stride;
    for (let row = 0; row < cells; row += 1) {
      for (let column = 0; column < cells; column += 1) {
        const [y, x] = [row * stride + offset, column * stride + offset];
        for (const ratio of anchors.aspect_ratios) {
          for (let scale = 0; scale < anchors.scales_per_octave; scale += 1) {
            const octave = 2 ** (scale / anchors.scales_per_octave);
            const halfHeight = ((base / Math.sqrt(ratio)) * octave) / 2;
            const halfWidth = (base * Math.sqrt(ratio) * octave) / 2;
            boxes.push(y - halfHeight, x - halfWidth, y + halfHeight, x + halfWidth);
          }
        }
      }
    }
  }
  return Float32Array.from(boxes, (edge) => edge / imageSize);
}

// One anchor's box, not clipped, into `box`.
function placeBox(box, encodings, anchors, anchor, coder) {
  const at = 4 * anchor;
  const height = f32(anchors[at + 2] - anchors[at]);
  const width = f32(anchors[at + 3] - anchors[at + 1]);
  const middleY = f32(f32(anchors[at] + anchors[at + 2]) / 2);
  const middleX = f32(f32(anchors[at + 1] + anchors[at + 3]) / 2);
  const y = f32(f32(f32(encodings[at] / coder.y_scale) * height) + middleY);
  const x = f32(f32(f32(encodings[at + 1] / coder.x_scale) * width) + middleX);
  // An untrained or damaged network may return any number: e^20 times the anchor is beyond every image, and finite.
  const halfHeight = f32(f32(f32(Math.exp(f32(Math.min(encodings[at + 2] / coder.height_scale, 20)))) * height) / 2);
  const halfWidth = f32(f32(f32(Math.exp(f32(Math.min(encodings[at + 3] / coder.width_scale, 20)))) * width) / 2);
  box[0] = y - halfHeight;
  box[1] = x - halfWidth;
  box[2] = y + halfHeight;
  box[3] = x + halfWidth;
}

// Indices into the logits with their scores, as a heap with the best on top: an untrained network scores thousands of anchors
// above the threshold, and only those that are needed are sorted.
class Candidates {
  constructor(most, classSlots) {
    this.classSlots = classSlots;
    this.size = 0;
    this.indices = new Int32Array(most);
    this.scores = new Float32Array(most);
  }

  collect(logits, lowest) {
    const { indices, scores, classSlots } = this;
    const above = findAbove(logits, lowest, indices);
    this.size = 0;
    for (let place = 0; place < above; place += 1) {
      const index = indices[place];
      if (index % classSlots === 0) continue; // slot 0 is background
      indices[this.size] = index;
      scores[this.size] = sigmoid(logits[index]);
      this.size += 1;
    }
    for (let place = (this.size >> 1) - 1; place >= 0; place -= 1) this.sink(place);
  }

  best() {
    return this.indices[0];
  }

  bestScore() {
    return this.scores[0];
  }

  dropBest() {
    this.size -= 1;
    this.indices[0] = this.indices[this.size];
    this.scores[0] = this.scores[this.size];
    this.sink(0);
  }

  sink(place) {
    const { indices, scores, size } = this;
    const [index, score] = [indices[place], scores[place]];
    for (let child = 2 * place + 1; child < size; child = 2 * place + 1) {
      if (child + 1 < size && this.isBefore(indices[child + 1], scores[child + 1], indices[child], scores[child])) child += 1;
      if (!this.isBefore(indices[child], scores[child], index, score)) break;
      indices[place] = indices[child];
      scores[place] = scores[child];
      place = child;
    }
    indices[place] = index;
    scores[place] = score;
  }

  isBefore(index, score, otherIndex, otherScore) {
    if (score !== otherScore) return score > otherScore;
    const [label, otherLabel] = [index % this.classSlots, otherIndex % this.classSlots];
    return label !== otherLabel ? label < otherLabel : index < otherIndex;
  }
}

// Writes the indices of the numbers above `lowest` into `indices`; returns how many. The loop does nothing else: with more in it,
// a million logits took three times as long.
function findAbove(numbers, lowest, indices) {
  let sum = 0;
  let count = 0;
  for (let index = 0; index < numbers.length; index += 1) {
    sum += numbers[index];
    if (numbers[index] > lowest) {
      indices[count] = index;
      count += 1;
    }
  }
  checkFinite(sum);
  return count;
}

// A 64-bit sum of 32-bit numbers is finite if and only if each of them is: even a million of the largest do not overflow it.
function checkFinite(sum) {
  if (!Number.isFinite(sum)) throw new Error('the heads hold values that are not finite');
}

function clip(edge) {
  return Math.min(Math.max(edge, 0), 1);
}

function sigmoid(logit) {
  // Clipped because e^88 is the largest 32-bit power; nothing above changes a score.
  return f32(1 / f32(1 + f32(Math.exp(-Math.min(Math.max(logit, -80), 80)))));
}
