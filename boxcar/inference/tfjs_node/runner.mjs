// Runs one TensorFlow.js graph model for a parent process, with the WebAssembly backend.
//
//   node runner.mjs MODEL_FOLDER IMAGE_SIZE
//
// Both sides send frames: a length in bytes (uint32, little-endian), then that many bytes. First this process sends one frame of
// JSON: {"backend", "version", "outputs": {name: shape, ...}}, the outputs of the model's signature. Then it answers every frame
// (float32 pixels [S, S, 3]) with one frame for each output, float32, in that order. The end of standard input ends the process;
// an error ends it with a message on standard error and exit code 1.

import { readFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

// The CommonJS builds: the packages' ES builds are meant for bundlers and do not load in Node.
const require = createRequire(import.meta.url);
const tf = require('@tensorflow/tfjs');
const wasm = require('@tensorflow/tfjs-backend-wasm');

const [folder, side] = [process.argv[2], Number(process.argv[3])];

function modelFromDisk(folder) {
  const model = JSON.parse(readFileSync(path.join(folder, 'model.json'), 'utf8'));
  const shards = model.weightsManifest.flatMap((group) => group.paths);
  const bytes = Buffer.concat(shards.map((name) => readFileSync(path.join(folder, name))));
  return {
    load: async () => ({
      ...model,
      weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
      weightData: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength),
    }),
  };
}

function send(bytes) {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.byteLength);
  for (let rest of [length, bytes]) {
    while (rest.byteLength > 0) {
      rest = rest.subarray(write(rest));
    }
  }
}

function write(bytes) {
  try {
    return writeSync(1, bytes);
  } catch (error) {
    if (error.code === 'EAGAIN') return 0; // the pipe is full: the parent has not read yet
    throw error;
  }
}

async function* frames(stream) {
  let held = [];
  let size = 0;
  let wanted = null;
  for await (const chunk of stream) {
    held.push(chunk);
    size += chunk.length;
    while (size >= (wanted ?? 4)) {
      const all = Buffer.concat(held);
      const take = wanted ?? 4;
      held = [all.subarray(take)];
      size -= take;
      if (wanted === null) {
        wanted = all.readUInt32LE(0);
      } else {
        yield all.subarray(0, take);
        wanted = null;
      }
    }
  }
}

async function main() {
  const binaries = path.join(path.dirname(require.resolve('@tensorflow/tfjs-backend-wasm')), path.sep);
  wasm.setWasmPaths(binaries);
  if (!(await tf.setBackend('wasm'))) throw new Error('the WebAssembly backend does not start');
  const model = await tf.loadGraphModel(modelFromDisk(folder));
  // By name, because the format does not keep the order of outputs.
  const signature = Object.entries(model.modelSignature?.outputs ?? {});
  const tensors = signature.map(([, tensor]) => tensor.name);
  const run = (pixels) => tf.tidy(() => [model.execute(tf.tensor4d(pixels, [1, side, side, 3]), tensors)].flat());

  const trial = run(new Float32Array(side * side * 3)); // also compiles, so that the first image takes no longer
  const outputs = Object.fromEntries(signature.map(([name], index) => [name, trial[index].shape]));
  tf.dispose(trial);
  send(Buffer.from(JSON.stringify({ backend: tf.getBackend(), version: tf.version.tfjs, outputs })));

  for await (const frame of frames(process.stdin)) {
    // A copy, because a Float32Array must begin at a multiple of four bytes.
    const pixels = new Float32Array(frame.buffer.slice(frame.byteOffset, frame.byteOffset + frame.byteLength));
    const answer = run(pixels);
    for (const output of answer) {
      const values = output.dataSync();
      send(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
    }
    tf.dispose(answer);
  }
}

main().catch((error) => {
  process.stderr.write(`${error?.message ?? error}\n`);
  process.exitCode = 1;
  process.stdin.destroy();
});
