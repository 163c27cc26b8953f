// A TensorFlow.js detector in the browser: loads the library and a model's files, and turns an image's pixels into detections.

import { Failure } from './failure.js';
import { preprocess } from './preprocessing.js';
import { readJson } from './sources.js';
import { readSpecification } from './specification.js';
import { findTask } from './tasks.js';

const LIBRARIES = new URL('vendor/', import.meta.url);
const EXPORT_AGAIN = 'Export the model again.';

const scripts = new Map();

/**
 * Makes TensorFlow.js compute with `wasm` or `webgl`. No other backend is loaded, so it cannot fall back to plain JavaScript,
 * which takes thirty times as long. Returns a short description of the backend.
 */
export async function startBackend(name) {
  if (name === 'webgl' && !document.createElement('canvas').getContext('webgl2')) {
    throw new Failure('This browser does not support WebGL 2.', 'Choose WebAssembly.');
  }
  await loadScript('tf-core.min.js');
  await loadScript('tf-converter.min.js');
  await loadScript(`tf-backend-${name}.min.js`);
  const { tf } = globalThis;
  const started = await tf.setBackend(name).catch(() => false);
  if (!started && name === 'wasm') {
    throw new Failure('WebAssembly does not start.', 'Check that vendor/ has the .wasm files, or choose WebGL.');
  }
  if (!started) throw new Failure('WebGL does not start on this device.', 'Choose WebAssembly.');
  if (name === 'wasm') {
    const threads = tf.env().getBool('WASM_HAS_MULTITHREAD_SUPPORT') ? tf.wasm.getThreadsCount() : 1;
    return `WebAssembly, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
  }
  return tf.env().getBool('WEBGL_RENDER_FLOAT32_ENABLED')
    ? 'WebGL 2'
    : 'WebGL 2 with 16-bit numbers, all that this device supports: scores may differ slightly';
}

/** Loads the model of a source (see sources.js) into the backend that was started, and runs it once. */
export async function loadDetector(source) {
  const { tf } = globalThis;
  const { specification, task } = await describe(source);
  const description = await readJson(source, 'model.json');
  const groups = description.weightsManifest;
  if (!Array.isArray(groups)) throw new Failure(`model.json of ${source.name} lists no weights.`, EXPORT_AGAIN);
  const shards = await Promise.all(groups.flatMap((group) => group.paths).map((path) => source.read(path)));
  const weightSpecs = groups.flatMap((group) => group.weights);
  const weightData = await new Blob(shards).arrayBuffer();
  let model;
  try {
    model = await tf.loadGraphModel({ load: async () => ({ ...description, weightSpecs, weightData }) });
  } catch (error) {
    throw unusable(source, error.message);
  }
  // By name, because the format does not keep the order of outputs.
  const signature = model.modelSignature?.outputs ?? {};
  for (const name of Object.keys(task.outputShapes(specification))) {
    if (!signature[name]) {
      model.dispose();
      throw unusable(source, `it has no output ${name}`);
    }
  }
  const detector = new Detector(source, specification, task, model);
  try {
    await detector.warmUp();
  } catch (error) {
    detector.dispose();
    throw error instanceof Failure ? error : unusable(source, error.message);
  }
  return detector;
}

class Detector {
  constructor(source, specification, task, model) {
    this.source = source;
    this.specification = specification;
    this.labels = specification.labels;
    this.model = model;
    this.shapes = task.outputShapes(specification);
    this.decode = task.makeDecoder(specification);
  }

  /**
   * Detects objects in an ImageData: `boxes`, `scores`, and `classes` as box_decoding.js returns them, and the `milliseconds` for
   * `preparing` the pixels, `computing` the network, and `deciding` on boxes.
   */
  async detect(image) {
    const started = performance.now();
    const pixels = preprocess(image, this.specification);
    const prepared = performance.now();
    const { heads } = await this.run(pixels);
    const computed = performance.now();
    let found;
    try {
      found = this.decode(heads);
    } catch (error) {
      throw unusable(this.source, error.message);
    }
    const decided = performance.now();
    const milliseconds = { preparing: prepared - started, computing: computed - prepared, deciding: decided - computed };
    return { ...found, milliseconds };
  }

  // Compiles, so that the first image takes no longer than the others, and compares the outputs with detector.json.
  async warmUp() {
    const { image_size: size } = this.specification;
    const { shapes } = await this.run(new Float32Array(size * size * 3));
    for (const [name, shape] of Object.entries(this.shapes)) {
      const [found, wanted] = [shapes[name].join(' × '), [1, ...shape].join(' × ')];
      if (found !== wanted) throw unusable(this.source, `its ${name} are ${found}, but its detector.json says ${wanted}`);
    }
  }

  // The network's outputs by their names: their numbers in `heads`, their shapes in `shapes`.
  async run(pixels) {
    const { tf } = globalThis;
    const size = this.specification.image_size;
    const names = Object.keys(this.shapes);
    const tensors = names.map((name) => this.model.modelSignature.outputs[name].name);
    const outputs = tf.tidy(() => [this.model.execute(tf.tensor4d(pixels, [1, size, size, 3]), tensors)].flat());
    const numbers = await Promise.all(outputs.map((output) => output.data()));
    const byName = (values) => Object.fromEntries(names.map((name, index) => [name, values[index]]));
    const answer = { heads: byName(numbers), shapes: byName(outputs.map((output) => output.shape)) };
    tf.dispose(outputs);
    return answer;
  }

  dispose() {
    this.model.dispose();
  }
}

async function describe(source) {
  const described = await readJson(source, 'detector.json');
  try {
    const specification = readSpecification(described);
    return { specification, task: findTask(specification) };
  } catch (error) {
    throw new Failure(`detector.json of ${source.name} cannot be used: ${error.message}.`, EXPORT_AGAIN);
  }
}

function unusable(source, reason) {
  return new Failure(`The model of ${source.name} cannot be used: ${reason.replace(/\.$/, '')}.`, EXPORT_AGAIN);
}

function loadScript(file) {
  if (!scripts.has(file)) {
    const loading = new Promise((resolve, reject) => {
      const element = document.createElement('script');
      element.src = new URL(file, LIBRARIES).href;
      element.onload = () => {
        // Once, and before the backend starts.
        if (file === 'tf-backend-wasm.min.js') globalThis.tf.wasm.setWasmPaths(LIBRARIES.href);
        resolve();
      };
      element.onerror = () => {
        scripts.delete(file);
        const todo = 'Open the page with `boxcar demo-page`, which serves these files.';
        reject(new Failure(`vendor/${file}, a part of TensorFlow.js, is missing next to this page.`, todo));
      };
      document.head.append(element);
    });
    scripts.set(file, loading);
  }
  return scripts.get(file);
}
