import type { Verified } from '../engine/operations/verify.ts';

/** What was looked at, one line each. */
export function describeChecks({ reference, checks }: Verified): string {
  const lines = checks.map(
    ({ name, result, message }) => `  ${name}: ${result}${message === undefined ? '' : ` (${message})`}`,
  );
  return [`${reference}:`, ...lines].join('\n');
}
