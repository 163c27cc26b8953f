// Runs the browser page's modules in Node: a list of { call, ... } comes as JSON on standard input, a list of answers goes out.
// Arrays of numbers travel as base64 of their bytes.

import { readFileSync } from 'node:fs';
import { makeAnchors } from '../../boxcar/demo_page/page/box_decoding.js';
import { preprocess } from '../../boxcar/demo_page/page/preprocessing.js';
import { readSpecification } from '../../boxcar/demo_page/page/specification.js';
import { findTask } from '../../boxcar/demo_page/page/tasks.js';

const bytes = (text) => Uint8Array.from(Buffer.from(text, 'base64'));
const floats = (text) => new Float32Array(bytes(text).buffer);
const text = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');

const named = (heads) => Object.fromEntries(Object.entries(heads).map(([name, values]) => [name, floats(values)]));

function decoder(json) {
  const specification = readSpecification(json);
  return findTask(specification).makeDecoder(specification);
}

const calls = {
  anchors: ({ size, anchors }) => text(makeAnchors(size, anchors)),
  preprocess: ({ data, width, height, specification }) =>
    text(preprocess({ data: bytes(data), width, height }, readSpecification(specification))),
  // One decoder for all images, as on the page: nothing of one may be left for the next.
  decode: ({ specification, heads }) => {
    const decode = decoder(specification);
    return heads.map((one) => attempt(() => {
      const found = decode(named(one));
      return { boxes: text(found.boxes), scores: text(found.scores), classes: [...found.classes] };
    }));
  },
  outputs: ({ specification }) => findTask(readSpecification(specification)).outputShapes(readSpecification(specification)),
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
