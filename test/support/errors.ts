import { expect } from 'vitest';
import { CoppiceError, type ErrorCode } from '../../src/index.ts';

/** Runs something that must fail with a typed error in one sentence; returns that error. */
export async function refusal(run: () => unknown, code?: ErrorCode): Promise<CoppiceError> {
  let outcome: unknown;
  try {
    outcome = await run();
  } catch (error) {
    if (!(error instanceof CoppiceError)) throw error;
    expect(error.message).toMatch(/^[^\n]+[.?)]$/);
    if (code !== undefined) expect(`${error.code}: ${error.message}`).toMatch(new RegExp(`^${code}: `));
    return error;
  }
  throw new Error(`expected a refusal, but it returned ${JSON.stringify(outcome)}`);
}
