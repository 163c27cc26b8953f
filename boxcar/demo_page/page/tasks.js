// What each task of a detector.json needs here: `outputShapes` and `makeDecoder`, as box_decoding.js has them for boxes. Another
// task's module goes here.

import * as boxes from './box_decoding.js';

const TASKS = { boxes };

/** The module of a specification's task. Throws an Error where this page has none. */
export function findTask({ task }) {
  if (!Object.hasOwn(TASKS, task)) throw new Error(`its task is ${task}, but this page supports only ${Object.keys(TASKS).join(', ')}`);
  return TASKS[task];
}
