// An error message: one sentence says what happened, one says what to do.

export class Failure extends Error {
  constructor(what, todo) {
    super(`${what} ${todo}`);
  }
}
