// Turns an image's pixels into the network's input, as boxcar/inference/preprocessing.py does it in Python; tests compare the two.

const f32 = Math.fround;

/**
 * Resizes RGBA bytes (`image` is an ImageData, or has its `data`, `width` and `height`) to a Float32Array of S x S x 3 numbers
 * in the specification's value range.
 *
 * The resize is bilinear with pixel positions at upper left corners, without anti-aliasing, and does not keep the aspect: that of
 * TensorFlow 1, with which the detectors are trained. A canvas resizes by other rules, which differ between browsers.
 */
export function preprocess(image, specification) {
  const { data, width, height } = image;
  const { image_size: size, value_range: [low, high] } = specification;
  const down = taps(height, size);
  const across = taps(width, size);
  const output = new Float32Array(size * size * 3);
  let place = 0;
  for (let row = 0; row < size; row += 1) {
    const upper = down.first[row] * width;
    const lower = down.second[row] * width;
    const rowShare = down.share[row];
    for (let column = 0; column < size; column += 1) {
      const left = across.first[column];
      const right = across.second[column];
      const columnShare = across.share[column];
      const upperLeft = 4 * (upper + left);
      const upperRight = 4 * (upper + right);
      const lowerLeft = 4 * (lower + left);
      const lowerRight = 4 * (lower + right);
      for (let channel = 0; channel < 3; channel += 1) {
        const above = data[upperLeft + channel] + (data[upperRight + channel] - data[upperLeft + channel]) * columnShare;
        const below = data[lowerLeft + channel] + (data[lowerRight + channel] - data[lowerLeft + channel]) * columnShare;
        output[place] = ((above + (below - above) * rowShare) * (high - low)) / 255 + low;
        place += 1;
      }
    }
  }
  return output;
}

// For each output position, the two input positions around it, and its distance from the first as a share of their distance.
function taps(size, wanted) {
  const scale = f32(size / wanted); // 32 bits, as TensorFlow's kernel computes it: a rounded position may fall into the next pixel
  const first = new Int32Array(wanted);
  const second = new Int32Array(wanted);
  const share = new Float32Array(wanted);
  for (let index = 0; index < wanted; index += 1) {
    const position = f32(index * scale);
    first[index] = Math.floor(position);
    second[index] = Math.min(first[index] + 1, size - 1);
    share[index] = position - first[index];
  }
  return { first, second, share };
}
