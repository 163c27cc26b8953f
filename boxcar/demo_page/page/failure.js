// What a person is told when something cannot be done: one sentence for what happened, one for what to do.

export class Failure extends Error {
  constructor(what, todo) {
    super(`${what} ${todo}`);
  }
}
