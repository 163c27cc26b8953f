// The modules of the tasks that a detector.json can name. Each exports `outputShapes` and `makeDecoder`, like box_decoding.js.

import * as boxes from './box_decoding.js';

const TASKS = { boxes };

/** The module of a specification's task. Throws an Error if this page has none. */
export function findTask({ task }) {
  if (!Object.hasOwn(TASKS, task)) throw new Error(`its task is ${task}, but this page supports only ${Object.keys(TASKS).join(', ')}`);
  return TASKS[task];
}
