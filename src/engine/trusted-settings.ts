import { CoppiceError } from '../model/errors.ts';
import type { Settings } from '../model/settings.ts';
import type { Context } from './context.ts';
import type { HeldVolume } from './holding.ts';

/**
 * The settings of a volume for whoever runs, stops or connects to something because of them. Whoever owns a pool can write what he likes
 * into its metadata, and must not have root do it for him.
 * @throws CoppiceError permission_denied
 */
export function trustedSettings(context: Context, volume: HeldVolume): Settings {
  const { settings = {} } = volume.metadata;
  if (Object.keys(settings).length > 0) requireOwner(context, volume, 'go by its settings');
  return settings;
}

/**
 * For what is done inside of a tree because its metadata says so.
 * @param action what is wanted, after "to"
 * @throws CoppiceError permission_denied
 */
export function requireOwner(context: Context, { name, held }: HeldVolume, action: string): void {
  const owner = context.driver.ownerOf?.(held);
  if (owner === undefined || owner === process.geteuid?.()) return;
  throw new CoppiceError(
    'permission_denied',
    `The metadata of ${name} belongs to the user with the number ${owner}, who could have anything done by it; to ${action}, be that user.`,
  );
}
