import { existsSync } from 'node:fs';

/**
 * Says why a test can't run here, for its name; empty when all files are there that it needs. In CI everything must be there, so that
 * nothing goes untested unseen.
 */
export function skippedWithout(...files: readonly string[]): string {
  const missing = files.filter((file) => !existsSync(file));
  if (missing.length === 0) return '';
  if (process.env['CI']) throw new Error(`Tests need ${missing.join(', ')}; npm test installs it.`);
  return ` (skipped: there is no ${missing.join(', ')})`;
}
