import { CoppiceError } from '../model/errors.ts';
import type { Settings } from '../model/settings.ts';
import type { Context } from './context.ts';
import type { HeldVolume } from './holding.ts';

/**
 * The settings of a volume for whoever runs, stops or connects to something because of them. Whoever owns a pool can write what he likes
 * into its metadata, and must not have root do it for him.
 * @throws CoppiceError permission_denied
 */
export function trustedSettings(context: Context, { name, metadata, held }: HeldVolume): Settings {
  const { settings = {} } = metadata;
  const owner = context.driver.ownerOf?.(held);
  if (owner === undefined || owner === process.geteuid?.() || Object.keys(settings).length === 0)
    return settings;
  throw new CoppiceError(
    'permission_denied',
    `The settings of ${name} belong to the user with the number ${owner}, who could have anything run by them; run it as that user.`,
  );
}
