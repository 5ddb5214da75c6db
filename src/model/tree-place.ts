import { CoppiceError } from './errors.ts';
import { longestSettings, type Settings } from './settings.ts';

/**
 * Where a directory tree is for the application that uses it: what is meant to be true on the host. It is written down before it is
 * made and taken out after it is gone, so that whatever a crash leaves is found by who compares the two.
 */
export interface TreePlace {
  /** Absolute, and with no link on the way. */
  readonly path: string;
  /** A mount shows the tree there; a link leads to where it is in the pool. */
  readonly how: 'mount' | 'link';
  /** What mounts it at every boot; absent where nothing does. `zfs` itself does by a property of the dataset. */
  readonly boot?: 'fstab' | 'systemd' | 'zfs';
  /** The directory was made for the mount, and goes with it. */
  readonly made?: true;
  /** The name of the directory beside it that was there before an adoption. */
  readonly original?: string;
  /** Somebody has begun to remove that, so that there is no way back any more. */
  readonly removing?: true;
}

/** Settings and place are in one attribute with the lineage. @throws CoppiceError invalid_argument */
export function requireRoom(name: string, settings: Settings | undefined, at: TreePlace | undefined): void {
  const bytes = (value: unknown): number => (value ? Buffer.byteLength(JSON.stringify(value)) : 0);
  if (bytes(settings) + bytes(at) <= longestSettings) return;
  throw new CoppiceError(
    'invalid_argument',
    `The settings of ${name} would be longer than the ${longestSettings} bytes that its metadata has for them; shorten them${at ? `, or the path ${at.path}` : ''}.`,
  );
}

/** Anybody may have written it: a path is looked at before anything is done with it, and a name must be none. */
export function isTreePlace(value: unknown): value is TreePlace | undefined {
  if (value === undefined) return true;
  if (typeof value !== 'object' || value === null) return false;
  const { path, how, boot, original } = value as Record<string, unknown>;
  return (
    typeof path === 'string' &&
    /^\/[^\0]*[^\0/]$/.test(path) &&
    (how === 'mount' || how === 'link') &&
    (boot === undefined || boot === 'fstab' || boot === 'systemd' || boot === 'zfs') &&
    (original === undefined || isFileName(original))
  );
}

function isFileName(value: unknown): boolean {
  return typeof value === 'string' && /^[^/\0]+$/.test(value) && value !== '.' && value !== '..';
}
