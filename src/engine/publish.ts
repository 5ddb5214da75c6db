import type { Held, Place } from '../drivers/driver.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';
import type { Name } from '../model/names.ts';
import { clearHidden } from './bury.ts';
import type { Context } from './context.ts';
import type { HeldVolume } from './holding.ts';
import { occupancy } from './visible.ts';

/** Gives a staged entry its name, in one step that can't overwrite anything. @throws CoppiceError already_exists */
export function publish(context: Context, staged: Held, name: Name): void {
  moveTo(context, staged, { area: 'volumes', name }, (cause) => nameTaken(name, cause));
}

/** Fails early, before work is done for nothing; `publish` decides. */
export function requireFree(context: Context, name: Name): void {
  if (occupancy(context, { area: 'volumes', name }) === 'taken') throw nameTaken(name);
}

/** The same for a snapshot. */
export function publishSnapshot(context: Context, staged: Held, volume: HeldVolume, name: Name): void {
  const place: Place = { area: 'snapshots', volume: volume.held, name };
  moveTo(context, staged, place, (cause) => snapshotTaken(volume, name, cause));
}

export function requireFreeSnapshot(context: Context, volume: HeldVolume, name: Name): void {
  if (occupancy(context, { area: 'snapshots', volume: volume.held, name }) === 'taken')
    throw snapshotTaken(volume, name);
}

/**
 * Clears away what has the name of a wanted snapshot, as storage has said, and what nobody sees. Returns whether there was anything.
 * @throws CoppiceError already_exists
 */
export function clearSnapshotName(context: Context, volume: HeldVolume, name: Name, cause: unknown): boolean {
  return clear(context, { area: 'snapshots', volume: volume.held, name }, () =>
    snapshotTaken(volume, name, cause),
  );
}

function moveTo(
  context: Context,
  staged: Held,
  place: Extract<Place, { name: Name }>,
  taken: (cause: unknown) => CoppiceError,
): void {
  for (;;) {
    try {
      context.driver.move(staged, place);
      return;
    } catch (error) {
      if (!hasErrno(error, 'EEXIST', 'ENOTEMPTY')) throw error;
      clear(context, place, () => taken(error));
    }
  }
}

/** What a group hides in a place gives way, or becomes visible: then the name is taken. */
function clear(context: Context, place: Extract<Place, { name: Name }>, taken: () => CoppiceError): boolean {
  const found = occupancy(context, place);
  if (found === 'taken') throw taken();
  if (found === 'hidden') clearHidden(context, place, place.name);
  return found === 'hidden';
}

function snapshotTaken(volume: HeldVolume, name: Name, cause?: unknown): CoppiceError {
  return new CoppiceError(
    'already_exists',
    `${volume.name} already has a snapshot named ${name}; choose another name.`,
    { cause },
  );
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

/**
 * Destroys a staged entry after a failure, or when its work is done. If that fails, the next opening of the pool does it: the first
 * error matters more, and so does what was achieved.
 */
export function abandon(context: Context, staged: Held): void {
  if (staged.place.area !== 'staging') return;
  try {
    context.driver.discard(staged);
  } catch {}
}

/** Publishes under the wanted name, or with -2, -3 and so on behind it when that is taken. Returns the name it got. */
export function publishNumbered(context: Context, staged: Held, volume: Held, wanted: Name): Name {
  return numbered(wanted).find((name) => publishIfFree(context, staged, volume, name)) ?? wanted;
}

/** Returns false when something has that name, also something that nobody sees. */
export function publishIfFree(context: Context, staged: Held, volume: Held, name: Name): boolean {
  try {
    context.driver.move(staged, { area: 'snapshots', volume, name });
    return true;
  } catch (error) {
    if (hasErrno(error, 'EEXIST', 'ENOTEMPTY')) return false;
    throw error;
  }
}

/** The name, then with -2, -3 and so on behind it, without an end. */
export function* numbered(name: Name): Generator<Name, never> {
  yield name;
  for (let number = 2; ; number++) yield `${name}-${number}` as Name;
}

/** A name from the time, in UTC, to the second. */
export function timestampName(prefix: string, time: Date): Name {
  return `${prefix}-${time.toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')}` as Name;
}
