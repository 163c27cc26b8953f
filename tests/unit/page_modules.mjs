// Runs the browser page's modules in Node: a list of { call, ... } comes as JSON on standard input, a list of answers goes out.
// Arrays of numbers travel as base64 of their bytes.

import { readFileSync } from 'node:fs';
import { makeAnchors, makeDecoder } from '../../boxcar/demo_page/page/decoding.js';
import { preprocess } from '../../boxcar/demo_page/page/preprocessing.js';
import { readSpecification } from '../../boxcar/demo_page/page/specification.js';

const bytes = (text) => Uint8Array.from(Buffer.from(text, 'base64'));
const floats = (text) => new Float32Array(bytes(text).buffer);
const text = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');

const calls = {
  anchors: ({ size, anchors }) => text(makeAnchors(size, anchors)),
  preprocess: ({ data, width, height, size }) => text(preprocess({ data: bytes(data), width, height }, size)),
  // One decoder for all pictures, as on the page: nothing of one may be left for the next.
  decode: ({ specification, heads }) => {
    const decode = makeDecoder(readSpecification(specification));
    return heads.map(([boxes, logits]) => attempt(() => {
      const found = decode(floats(boxes), floats(logits));
      return { boxes: text(found.boxes), scores: text(found.scores), classes: [...found.classes] };
    }));
  },
  time: ({ specification, heads: [boxes, logits], times }) => {
    const decode = makeDecoder(readSpecification(specification));
    const given = [floats(boxes), floats(logits)];
    const taken = [];
    for (let count = 0; count < times; count += 1) {
      const started = performance.now();
      decode(...given);
      taken.push(performance.now() - started);
    }
    return taken;
  },
};

function attempt(work) {
  try {
    return work();
  } catch (error) {
    return { error: error.message };
  }
}

const asked = JSON.parse(readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(asked.map((one) => attempt(() => calls[one.call](one)))));
