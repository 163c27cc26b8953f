// Times a TensorFlow.js detector in Node; prints JSON: `milliseconds` of each picture, of which `network` (ours only) were spent
// in the network, and the first picture's `scores`. With the backend `cpu`, which is plain JavaScript, only those scores.
// A child of exports_tfjs.py.
//
//   node exports_tfjs_child.mjs ours|stock wasm|cpu MODEL_FOLDER PICTURES_FOLDER

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadDetector } from '../boxcar/demo_page/page/detector.js';

const WARM_UP = 3; // answers before any is timed
// In alphabetical order, as the graph numbers them: Identity, Identity_1, ...
const STOCK_OUTPUTS = [
  'detection_anchor_indices',
  'detection_boxes',
  'detection_classes',
  'detection_multiclass_scores',
  'detection_scores',
  'num_detections',
  'raw_detection_boxes',
  'raw_detection_scores',
];

const runner = fileURLToPath(new URL('../boxcar/inference/tfjs_node/runner.mjs', import.meta.url)); // its packages are used
const require = createRequire(runner);
const tf = require('@tensorflow/tfjs');
const wasm = require('@tensorflow/tfjs-backend-wasm');

const bytesOf = (folder, file) => {
  const bytes = readFileSync(path.join(folder, file));
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
};

// The page's own detector: preprocessing, network and decoding.
async function loadOurs(folder) {
  globalThis.tf = tf; // where a browser has it from a script
  const detector = await loadDetector({ name: folder, read: async (file) => bytesOf(folder, file) });
  return async (picture) => {
    const { scores, milliseconds } = await detector.detect(picture);
    return { scores: [...scores], network: milliseconds.computing };
  };
}

// As pages with the stock export have it.
async function loadStock(folder) {
  const model = JSON.parse(readFileSync(path.join(folder, 'model.json'), 'utf8'));
  const shards = model.weightsManifest.flatMap((group) => group.paths).map((file) => bytesOf(folder, file));
  const weightSpecs = model.weightsManifest.flatMap((group) => group.weights);
  const weightData = await new Blob(shards).arrayBuffer();
  const graph = await tf.loadGraphModel({ load: async () => ({ ...model, weightSpecs, weightData }) });
  const count = Object.keys(model.signature.outputs).length;
  if (count !== STOCK_OUTPUTS.length) throw new Error(`the export has ${count} outputs, not ${STOCK_OUTPUTS.length}`);
  const wanted = ['detection_boxes', 'detection_classes', 'detection_scores', 'num_detections'].map((name) => {
    const place = STOCK_OUTPUTS.indexOf(name);
    return place ? `Identity_${place}:0` : 'Identity:0';
  });
  return async (picture) => {
    const input = tf.tidy(() => tf.expandDims(tf.browser.fromPixels(picture)));
    const outputs = await graph.executeAsync(input, wanted);
    const [, , scores, found] = await Promise.all(outputs.map((output) => output.data()));
    tf.dispose([input, ...outputs]);
    return { scores: [...scores.subarray(0, found[0])] };
  };
}

async function main() {
  const [side, backend, folder, canvas] = process.argv.slice(2);
  wasm.setWasmPaths(path.join(path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm')), path.sep));
  if (!(await tf.setBackend(backend))) throw new Error(`the backend ${backend} does not start`);
  const listed = JSON.parse(readFileSync(path.join(canvas, 'pictures.json'), 'utf8'));
  const pictures = listed.map(({ file, width, height }) => ({ data: new Uint8Array(bytesOf(canvas, file)), width, height }));
  const detect = await (side === 'ours' ? loadOurs : loadStock)(folder);
  const { scores } = await detect(pictures[0]);
  const milliseconds = [];
  const network = [];
  if (backend === 'wasm') {
    for (let count = 0; count < WARM_UP; count += 1) await detect(pictures[count % pictures.length]);
    for (const picture of pictures) {
      const started = performance.now();
      const found = await detect(picture);
      milliseconds.push(performance.now() - started);
      if (found.network !== undefined) network.push(found.network);
    }
  }
  process.stdout.write(`${JSON.stringify({ milliseconds, network, scores })}\n`);
}

await main();
