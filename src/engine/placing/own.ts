import { CoppiceError } from '../../model/errors.ts';
import type { Context } from '../context.ts';
import type { HeldVolume } from '../holding.ts';

/**
 * Whoever owns a pool can write what he likes into its metadata, and must not have root mount, or take away, anything by it.
 * @throws CoppiceError permission_denied
 */
export function requireOwn(context: Context, { name, held }: HeldVolume): void {
  const owner = context.driver.ownerOf?.(held);
  if (owner === undefined || owner === process.geteuid?.()) return;
  throw new CoppiceError(
    'permission_denied',
    `${name} belongs to the user with the number ${owner}, who could have anything mounted by what is recorded of it; run it as that user, with --link.`,
  );
}
