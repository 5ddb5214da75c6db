import type { Held, Place } from '../drivers/driver.ts';
import { hasErrno } from '../linux/libc.ts';
import { CoppiceError } from '../model/errors.ts';
import type { Name } from '../model/names.ts';
import type { Context } from './context.ts';

/** Gives a staged entry its name, in one step that can't overwrite anything. @throws CoppiceError already_exists */
export function publish(context: Context, staged: Held, name: Name): void {
  try {
    context.driver.move(staged, { area: 'volumes', name });
  } catch (error) {
    throw hasErrno(error, 'EEXIST', 'ENOTEMPTY') ? nameTaken(name, error) : error;
  }
}

/** Fails early, before work is done for nothing; `publish` decides. */
export function requireFree(context: Context, name: Name): void {
  if (context.driver.exists({ area: 'volumes', name })) throw nameTaken(name);
}

export function nameTaken(name: string, cause?: unknown): CoppiceError {
  return new CoppiceError(
    'already_exists',
    `There is already a volume or template named ${name}; choose another name.`,
    { cause },
  );
}

/**
 * Runs the making of something in a staged entry. Whatever fails, nothing is left of it; what was published stays.
 */
export function staging<T>(context: Context, make: (staged: Held) => T): T {
  using staged = context.driver.stage();
  try {
    return make(staged);
  } catch (error) {
    abandon(context, staged);
    throw error;
  }
}

/** Destroys a staged entry after a failure. If that fails too, the next opening of the pool does it; the first error matters more. */
export function abandon(context: Context, staged: Held): void {
  if (staged.place.area !== 'staging') return;
  try {
    context.driver.discard(staged);
  } catch {}
}

/** Publishes under the wanted name, or with -2, -3 and so on behind it when that is taken. Returns the name it got. */
export function publishNumbered(context: Context, staged: Held, volume: Held, wanted: Name): Name {
  for (let number = 1; ; number++) {
    const name = (number === 1 ? wanted : `${wanted}-${number}`) as Name;
    const place: Place = { area: 'snapshots', volume, name };
    try {
      context.driver.move(staged, place);
      return name;
    } catch (error) {
      if (!hasErrno(error, 'EEXIST', 'ENOTEMPTY')) throw error;
    }
  }
}

/** A name from the time, in UTC, to the second. */
export function timestampName(prefix: string, time: Date): Name {
  return `${prefix}-${time.toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')}` as Name;
}
